// Package proxyproto reads the header by which a proxy announces whose
// connection it passes on: the PROXY protocol, versions 1 and 2 (HAProxy,
// doc/proxy-protocol.txt). It takes exactly the header off the stream, so that
// what follows, a TLS handshake perhaps, stays with its reader.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of a header, in octets.
const (
	// MaxV1 bounds a line of version 1, CRLF included (§2.1).
	MaxV1 = 107
	// MaxV2 bounds what follows the 16 fixed octets of version 2: addresses and
	// TLVs. The protocol would allow 65,535.
	MaxV2 = 4096
)

// ErrMalformed is what every header that is wrong, too long or cut short is.
// Errors of the stream other than its end are returned as they are.
var ErrMalformed = errors.New("proxyproto: malformed PROXY header")

// Header is what a proxy announces.
type Header struct {
	// Local: the proxy's own connection, a health check for instance; its real
	// ends count (§2.2).
	Local bool
	// Source and Dest are the two ends of the connection that is passed on.
	// Both are invalid if Local, and if the proxy does not know them or they
	// are not TCP over IP.
	Source, Dest netip.AddrPort
}

const (
	prefixV1 = "PROXY "
	signV2   = "\r\n\r\n\x00\r\nQUIT\n"
)

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// Read reads one header from r, and not an octet more.
func Read(r io.Reader) (Header, error) {
	// No header of either version is shorter than "PROXY UNKNOWN" CRLF.
	var buf [MaxV1]byte
	n := 0
	for n < len(signV2) {
		m, err := r.Read(buf[n:len(signV2)])
		n += m
		v1, v2 := min(n, len(prefixV1)), n
		if string(buf[:v1]) != prefixV1[:v1] && string(buf[:v2]) != signV2[:v2] {
			return Header{}, malformed("no PROXY header")
		}
		if err != nil && n < len(signV2) {
			return Header{}, cut(err)
		}
	}
	if buf[0] == signV2[0] {
		return readV2(r)
	}
	return readV1(r, buf[:n])
}

func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return malformed("cut short")
	}
	return err
}

// readV1 reads on to the end of the line of which b is the beginning.
func readV1(r io.Reader, b []byte) (Header, error) {
	for !bytes.HasSuffix(b, []byte("\r\n")) {
		if bytes.IndexByte(b, '\n') >= 0 || len(b) >= MaxV1 {
			return Header{}, malformed("line too long or not ended by CRLF")
		}
		more := 2 // at least the CRLF is missing
		if b[len(b)-1] == '\r' {
			more = 1
		}
		more = min(more, MaxV1-len(b))
		n := len(b)
		b = b[:n+more]
		if _, err := io.ReadFull(r, b[n:]); err != nil {
			return Header{}, cut(err)
		}
	}
	return parseV1(string(b[len(prefixV1) : len(b)-2]))
}

// parseV1 parses what follows "PROXY " (§2.1).
func parseV1(s string) (Header, error) {
	family, rest, _ := strings.Cut(s, " ")
	if family == "UNKNOWN" {
		return Header{}, nil // whatever follows is to be ignored
	}
	f := strings.Split(rest, " ")
	if (family != "TCP4" && family != "TCP6") || len(f) != 4 {
		return Header{}, malformed("unknown protocol or wrong number of fields")
	}
	src, err1 := parseEnd(family, f[0], f[2])
	dst, err2 := parseEnd(family, f[1], f[3])
	if err := errors.Join(err1, err2); err != nil {
		return Header{}, malformed("bad address or port")
	}
	return Header{Source: src, Dest: dst}, nil
}

func parseEnd(family, addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || (port[0] == '0' && port != "0") {
		return netip.AddrPort{}, ErrMalformed
	}
	if a.Is4() != (family == "TCP4") || a.Zone() != "" {
		return netip.AddrPort{}, ErrMalformed
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}

// readV2 reads what follows the signature (§2.2).
func readV2(r io.Reader) (Header, error) {
	b := make([]byte, 16, 64)
	copy(b, signV2)
	if _, err := io.ReadFull(r, b[len(signV2):]); err != nil {
		return Header{}, cut(err)
	}
	size := int(binary.BigEndian.Uint16(b[14:]))
	if size > MaxV2 {
		return Header{}, malformed("header too long")
	}
	b = append(b, make([]byte, size)...)
	if _, err := io.ReadFull(r, b[16:]); err != nil {
		return Header{}, cut(err)
	}
	return parseV2(b)
}

// Octet 13: version and command. Octet 14: family and transport.
const (
	version2 = 0x20
	cmdLocal = 0x0
	cmdProxy = 0x1

	famIPv4, famIPv6, famUnix = 0x10, 0x20, 0x30
	overStream                = 0x1
)

func parseV2(b []byte) (Header, error) {
	cmd, fam, transport := b[12]&0xf, b[13]&0xf0, b[13]&0xf
	switch {
	case b[12]&0xf0 != version2 || cmd > cmdProxy:
		return Header{}, malformed("unknown version or command")
	case cmd == cmdLocal:
		// The family is to be ignored, and with it where TLVs would begin.
		return Header{Local: true}, nil
	case fam > famUnix || transport > 0x2:
		return Header{}, malformed("unknown address family")
	}
	rest := b[16:]
	var h Header
	var size int
	switch fam {
	case famIPv4:
		size = 4
	case famIPv6:
		size = 16
	case famUnix:
		size = 108
	}
	ends := 2 * size
	if fam == famIPv4 || fam == famIPv6 {
		ends += 4
	}
	if len(rest) < ends {
		return Header{}, malformed("addresses cut short")
	}
	if transport == overStream && (fam == famIPv4 || fam == famIPv6) {
		src, _ := netip.AddrFromSlice(rest[:size])
		dst, _ := netip.AddrFromSlice(rest[size : 2*size])
		ports := rest[2*size:]
		h.Source = netip.AddrPortFrom(src, binary.BigEndian.Uint16(ports))
		h.Dest = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(ports[2:]))
	}
	return h, checkTLVs(b, 16+ends)
}

// typeCRC32C is the TLV that holds a checksum of the whole header (§2.2.3).
const typeCRC32C = 0x03

// checkTLVs walks the TLVs from b[i] on and compares the checksum, if there
// is one.
func checkTLVs(b []byte, i int) error {
	for i < len(b) {
		if len(b)-i < 3 {
			return malformed("TLV cut short")
		}
		value := i + 3
		next := value + int(binary.BigEndian.Uint16(b[i+1:]))
		if next > len(b) {
			return malformed("TLV cut short")
		}
		if b[i] == typeCRC32C {
			if next-value != 4 {
				return malformed("checksum of a wrong size")
			}
			want := binary.BigEndian.Uint32(b[value:])
			clear(b[value:next])
			if crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) != want {
				return malformed("wrong checksum")
			}
			binary.BigEndian.PutUint32(b[value:], want)
		}
		i = next
	}
	return nil
}
