package ldap

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/posta-mail/posta/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// directory is a small LDAP server at the other end of a pipe. It knows Basic
// Encoding Rules as far as its tests need them.
type directory struct {
	// bind and search answer; the code of a bind, and the entries of a search.
	bind   func(dn, password string) (code byte)
	search func(filter []byte) (code byte, dns []string)
	// attributes are those of every entry.
	attributes map[string][]string
	// raw answers in place of all that, if not nil.
	raw   []byte
	done  chan int // gets how much of it was taken
	cert  *tls.Certificate
	binds []string
}

// ber is an element of a tag.
func ber(tag byte, parts ...string) string {
	all := ""
	for _, p := range parts {
		all += p
	}
	return string([]byte{tag, 0x82, byte(len(all) >> 8), byte(len(all))}) + all
}

// element reads one: its tag and content.
func element(b []byte) (tag byte, content, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, nil, io.ErrUnexpectedEOF
	}
	n, at := int(b[1]), 2
	if n >= 0x80 {
		count := n & 0x7f
		if len(b) < 2+count {
			return 0, nil, nil, io.ErrUnexpectedEOF
		}
		n = 0
		for _, c := range b[2 : 2+count] {
			n = n<<8 | int(c)
		}
		at += count
	}
	if len(b) < at+n {
		return 0, nil, nil, io.ErrUnexpectedEOF
	}
	return b[0], b[at : at+n], b[at+n:], nil
}

func (d *directory) serve(c net.Conn) {
	defer c.Close()
	if d.raw != nil {
		go io.Copy(io.Discard, c)
		n, _ := c.Write(d.raw)
		if d.done != nil {
			d.done <- n
		}
		return
	}
	r := bufio.NewReader(c)
	var pending []byte
	for {
		_, message, rest, err := element(pending)
		if err != nil {
			b, err := r.ReadByte()
			if err != nil {
				return
			}
			pending = append(pending, b)
			continue
		}
		pending = rest
		_, id, op, err := element(message)
		if err != nil {
			return
		}
		if d.answer(c, string(id), op) != nil {
			return
		}
	}
}

func (d *directory) answer(c net.Conn, id string, op []byte) error {
	tag, content, _, err := element(op)
	if err != nil {
		return err
	}
	send := func(op string) {
		if err == nil {
			_, err = io.WriteString(c, ber(0x30, ber(2, id), op))
		}
	}
	switch tag {
	case 0x60: // bind: version, name, [0] password
		_, _, content, _ = element(content)
		_, dn, content, _ := element(content)
		_, password, _, _ := element(content)
		d.binds = append(d.binds, string(dn))
		code := d.bind(string(dn), string(password))
		send(ber(0x61, ber(10, string([]byte{code})), ber(4), ber(4)))
	case 0x63:
		code, dns := d.search(content)
		for _, dn := range dns {
			if strings.HasPrefix(dn, "ldap://") { // a reference
				send(ber(0x73, ber(4, dn)))
				continue
			}
			list := ""
			for name, values := range d.attributes {
				set := ""
				for _, v := range values {
					set += ber(4, v)
				}
				list += ber(0x30, ber(4, name), ber(0x31, set))
			}
			send(ber(0x64, ber(4, dn), ber(0x30, list)))
		}
		send(ber(0x65, ber(10, string([]byte{code})), ber(4), ber(4)))
	case 0x77: // StartTLS
		if d.cert == nil {
			send(ber(0x78, ber(10, "\x02"), ber(4), ber(4)))
			break
		}
		send(ber(0x78, ber(10, "\x00"), ber(4), ber(4)))
		d.serve(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*d.cert}}))
		err = errors.New("closed")
	default:
		err = errors.New("closed")
	}
	return err
}

func (d *directory) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go d.serve(server)
	return client, nil
}

// people has anna, whose password is "secret" and takes a while to check, and
// others of whom something is said before any password.
func people() *directory {
	return &directory{
		bind: func(dn, password string) byte {
			switch dn {
			case "uid=anna,dc=a":
				time.Sleep(90 * time.Millisecond)
				if password == "secret" {
					return 0
				}
				return 49
			case "uid=inactive,dc=a":
				return 53
			case "uid=locked,dc=a":
				return 19
			case "uid=barred,dc=a":
				return 50
			case "uid=keyless,dc=a":
				return 48
			case "uid=slow,dc=a":
				time.Sleep(700 * time.Millisecond)
			case "uid=elsewhere,dc=a":
				return 10
			case "uid=busy,dc=a":
				return 51
			case "uid=looped,dc=a":
				return 54
			case "cn=admin":
				return 0
			}
			return 49
		},
	}
}
