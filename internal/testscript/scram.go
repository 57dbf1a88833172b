package testscript

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// scram sends a client's last message of SCRAM and keeps, as the variable
// signature, what the server must then say, both in base64. The argument is the
// hash, the password, the client's first message, and the server's in base64. It
// is written from RFC 5802 for itself, so that it can disagree with what is tested.
func (d *dialogue) scram(c *peer, arg string) error {
	f := strings.Fields(arg)
	if len(f) != 4 {
		return fmt.Errorf("SCRAM needs a hash, a password and two messages")
	}
	algorithm, ok := map[string]func() hash.Hash{"SHA-1": sha1.New, "SHA-256": sha256.New, "SHA-512": sha512.New}[f[0]]
	server, err := base64.StdEncoding.DecodeString(f[3])
	if err != nil || !ok {
		return fmt.Errorf("hash or message: %v", err)
	}
	parts := map[string]string{}
	for p := range strings.SplitSeq(string(server), ",") {
		key, value, _ := strings.Cut(p, "=")
		parts[key] = value
	}
	salt, err := base64.StdEncoding.DecodeString(parts["s"])
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(parts["i"])
	if err != nil {
		return err
	}
	salted, err := pbkdf2.Key(algorithm, f[1], salt, rounds, algorithm().Size())
	if err != nil {
		return err
	}
	mac := func(key []byte, text string) []byte {
		m := hmac.New(algorithm, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	at := strings.Index(f[2], "n=")
	if at < 0 {
		return fmt.Errorf("no name in %q", f[2])
	}
	header, bare := f[2][:at], f[2][at:]
	bound := []byte(header)
	if strings.HasPrefix(header, "p=tls-exporter,") {
		t, ok := c.Conn.(*tls.Conn)
		if !ok {
			return fmt.Errorf("nothing to bind to without TLS")
		}
		state := t.ConnectionState()
		data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			return err
		}
		bound = append(bound, data...)
	}
	final := "c=" + base64.StdEncoding.EncodeToString(bound) + ",r=" + parts["r"]
	message := bare + "," + string(server) + "," + final
	key := mac(salted, "Client Key")
	h := algorithm()
	h.Write(key)
	proof := mac(h.Sum(nil), message)
	for i := range proof {
		proof[i] ^= key[i]
	}
	signature := "v=" + base64.StdEncoding.EncodeToString(mac(mac(salted, "Server Key"), message))
	d.vars["signature"] = base64.StdEncoding.EncodeToString([]byte(signature))
	final += ",p=" + base64.StdEncoding.EncodeToString(proof)
	return d.send(c, base64.StdEncoding.EncodeToString([]byte(final)))
}
