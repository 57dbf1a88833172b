package interop

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	theirs "github.com/emersion/go-msgauth/dkim"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// crossMessages is how many messages the libraries sign for each other.
const crossMessages = 2000

// crossPeer signs and verifies for peer.test with one library.
type crossPeer interface {
	sign(t *testing.T, k *crossKey, canon, msg string) (fields string, err error)
	verify(t *testing.T, k *crossKey, msg string) (pass bool, reason string)
}

// crossKey is a key in the forms that the libraries want.
type crossKey struct {
	key       crypto.Signer
	algorithm dkim.Algorithm
	record    string
	pem       string // PKCS #1 or PKCS #8
	seed      string // of an Ed25519 key, in base64
}

func newCrossKey(t *testing.T, a dkim.Algorithm) *crossKey {
	t.Helper()
	key, err := dkim.GenerateKey(a)
	require.NoError(t, err)
	record, err := dkim.Record(key)
	require.NoError(t, err)
	k := &crossKey{key: key, algorithm: a, record: record}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		k.pem = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
		k.seed = k.pem
	case ed25519.PrivateKey:
		text, err := dkim.MarshalKey(key)
		require.NoError(t, err)
		k.pem, k.seed = string(text), base64.StdEncoding.EncodeToString(key.Seed())
	}
	return k
}

// crossOurs is the package under test.
type crossOurs struct{}

func (crossOurs) sign(t *testing.T, k *crossKey, canon, msg string) (string, error) {
	head, body, _ := strings.Cut(canon, "/")
	fields, err := dkim.Sign(t.Context(), []*dkim.Signer{{Domain: "peer.test", Selector: "sel", Key: k.key,
		HeaderCanon: dkim.Canonicalization(head), BodyCanon: dkim.Canonicalization(body)}}, strings.NewReader(msg))
	return string(fields), err
}

func (crossOurs) verify(t *testing.T, k *crossKey, msg string) (bool, string) {
	v := &dkim.Verifier{Resolver: testdns.NewResolver(testdns.Zone{"sel._domainkey.peer.test": {TXT: []string{k.record}}})}
	results, err := v.Verify(t.Context(), strings.NewReader(msg))
	require.NoError(t, err)
	require.Len(t, results, 1)
	return results[0].Status == dkim.StatusPass, results[0].Reason()
}

// crossMsgauth is emersion's go-msgauth.
type crossMsgauth struct{}

func (crossMsgauth) sign(_ *testing.T, k *crossKey, canon, msg string) (string, error) {
	head, body, _ := strings.Cut(canon, "/")
	var out bytes.Buffer
	err := theirs.Sign(&out, strings.NewReader(msg), &theirs.SignOptions{Domain: "peer.test", Selector: "sel", Signer: k.key,
		HeaderCanonicalization: theirs.Canonicalization(head), BodyCanonicalization: theirs.Canonicalization(body)})
	if err != nil {
		return "", err
	}
	// It writes the message behind the field.
	i := strings.Index(out.String(), "\r\nFrom:")
	return out.String()[:i+2], nil
}

func (crossMsgauth) verify(t *testing.T, k *crossKey, msg string) (bool, string) {
	results, err := theirs.VerifyWithOptions(strings.NewReader(msg), &theirs.VerifyOptions{
		LookupTXT: func(string) ([]string, error) { return []string{k.record}, nil }})
	if err != nil {
		return false, err.Error()
	}
	require.Len(t, results, 1)
	return results[0].Err == nil, fmt.Sprint(results[0].Err)
}

// crossProcess is a library of another language.
type crossProcess struct {
	*lineProcess
	seed bool // wants Ed25519 keys bare
}

type crossQuestion struct {
	Op        string         `json:"op"`
	Message   []byte         `json:"message"`
	Domain    string         `json:"domain"`
	Selector  string         `json:"selector"`
	Canon     string         `json:"canon"`
	Algorithm dkim.Algorithm `json:"algorithm"`
	Key       string         `json:"key"`
	Record    string         `json:"record"`
}

type crossAnswer struct {
	Fields        []byte
	Pass          bool
	Reason, Error string
}

func (p crossProcess) sign(t *testing.T, k *crossKey, canon, msg string) (string, error) {
	q := crossQuestion{"sign", []byte(msg), "peer.test", "sel", canon, k.algorithm, k.pem, ""}
	if p.seed {
		q.Key = k.seed
	}
	var a crossAnswer
	p.ask(t, q, &a)
	if a.Error != "" {
		return "", fmt.Errorf("%s", a.Error)
	}
	return string(a.Fields), nil
}

func (p crossProcess) verify(t *testing.T, k *crossKey, msg string) (bool, string) {
	var a crossAnswer
	p.ask(t, crossQuestion{Op: "verify", Message: []byte(msg), Record: k.record}, &a)
	return a.Pass, a.Reason + a.Error
}

func crossPeers(t *testing.T) map[string]crossPeer {
	t.Helper()
	python := filepath.Join("testdata", "dkim_python.py")
	return map[string]crossPeer{
		"posta":      crossOurs{},
		"go-msgauth": crossMsgauth{},
		"dkimpy":     crossProcess{startLines(t, []string{debianPython, "-c", "import dkim, nacl"}, debianPython, python, "dkimpy"), true},
		"OpenDKIM": crossProcess{startLines(t, []string{debianPython, "-c", `import ctypes; ctypes.CDLL("libopendkim.so.11")`},
			debianPython, python, "opendkim"), false},
		"Mail::DKIM": crossProcess{startLines(t, []string{"perl", "-MMail::DKIM::Verifier", "-MJSON::PP", "-e", "1"},
			"perl", filepath.Join("testdata", "dkim_maildkim.pl")), false},
	}
}

// crossMessage is a message of some odd shape; bare means that its body has a CR
// or LF outside of CRLF.
func crossMessage(r *rand.Rand, n int) (msg string, bare bool) {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	b.WriteString(pick("From: Ann <ann@peer.test>\r\n", "From:ann@peer.test\r\n", "From:\t \"A  N\"\r\n\t<ann@peer.test> \r\n"))
	b.WriteString(pick("To: bob@b.test\r\n", "TO: bob@b.test,\r\n   carl@c.test,\r\n\tdora@d.test\r\n", ""))
	b.WriteString("Subject:" + pick(" plain", " two  spaces", "\ttab\there", " folded\r\n line", " folded \r\n\t tab \t", "", " trailing \t ", " caf\xc3\xa9 \xff", " a;b=c: d") + "\r\n")
	b.WriteString(fmt.Sprintf("Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <%d@peer.test>\r\n", n))
	for range r.IntN(3) {
		b.WriteString(pick("MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\n", "X-Odd: 1\r\nx-odd:2\r\n",
			"Received: by a; x\r\nReceived: by b; y\r\nReceived: by c;\r\n z\r\n", "Comments: one\r\nComments:  two\r\n",
			"List-ID: <a.b>\r\nLIST-UNSUBSCRIBE: <mailto:x@y.test>\r\n", "Cc: "+strings.Repeat("someone@example.test,\r\n ", 1+r.IntN(30))+"last@example.test\r\n"))
	}
	b.WriteString("\r\n")
	lines := []string{"text\r\n", "  two  words \t \r\n", "\r\n", "\t\r\n", " \r\n", "caf\xc3\xa9 \xfe\x80\r\n", "\r\n\r\n\r\n", ".dot\r\n", "..\r\n",
		strings.Repeat("long line ", 200) + "\r\n", "From x\r\n", "a\t\tb \r\n", "--=_x\r\n"}
	for range r.IntN(8) {
		b.WriteString(pick(lines...))
	}
	b.WriteString(pick("", "", "", "last", " ", "\t \r\n\r\n", "last \r\n \r\n"))
	if bare = r.IntN(10) == 0; bare {
		b.WriteString(pick("a\rb\r\n", "a\nb\r\n", "\r\r\n", "\n\r\n", " \n x\r\n", "end\r\n\n", "end\r"))
	}
	return b.String(), bare
}

// crossTamper changes a signed message so that its signature does not hold.
func crossTamper(r *rand.Rand, fields, msg string) string {
	head, body, _ := strings.Cut(msg, "\r\n\r\n")
	switch r.IntN(4) {
	case 0:
		return fields + head + "\r\n\r\nx" + body
	case 1:
		return fields + msg + "\r\nmore\r\n"
	case 2:
		return fields + strings.Replace(msg, "2003", "2004", 1)
	default:
		at := strings.LastIndex(fields, "=") - 40
		for fields[at] == ' ' || fields[at] == '\t' || fields[at] == '\r' || fields[at] == '\n' {
			at--
		}
		with := byte('A')
		if fields[at] == with {
			with = 'B'
		}
		return fields[:at] + string(with) + fields[at+1:] + msg
	}
}

// crossCanons are the pairs of canonicalisations.
var crossCanons = []string{"simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"}

// TestDKIMCross has each library sign in turn, and all verify: what one has
// signed the others accept, and what was changed afterwards they refuse.
func TestDKIMCross(t *testing.T) {
	t.Parallel()
	began := time.Now()
	peers := crossPeers(t)
	names := slices.Sorted(maps.Keys(peers))
	keys := []*crossKey{newCrossKey(t, dkim.RSASHA256), newCrossKey(t, dkim.Ed25519SHA256)}
	signed, checks, differences := map[string]int{}, 0, map[string]int{}
	for n := range crossMessages {
		r := rand.New(rand.NewPCG(uint64(n), 6376))
		k := keys[r.IntN(2)]
		signer, canon := names[n%len(names)], crossCanons[r.IntN(len(crossCanons))]
		msg, bare := crossMessage(r, n)
		about := fmt.Sprintf("message %d, %s, %s by %s", n, k.algorithm, canon, signer)
		fields, err := peers[signer].sign(t, k, canon, msg)
		c := crossCase{signer, signer, k.algorithm, canon, bare, !strings.HasSuffix(msg, "\r\n"), len(msg) > 4096}
		if class := crossDifference(c); err != nil && class != "" {
			differences[class]++ // it will not even sign
			c.signer = "posta"
			fields, err = peers[c.signer].sign(t, k, canon, msg)
		}
		require.NoError(t, err, "%s\n%q", about, msg)
		require.True(t, strings.HasPrefix(fields, "DKIM-Signature:") && strings.HasSuffix(fields, "\r\n"), "%s: %q", about, fields)
		signed[c.signer]++
		tampered := ""
		if n%2 == 0 && !bare {
			tampered = crossTamper(r, fields, msg)
			require.NotEqual(t, fields+msg, tampered)
		}
		for _, name := range names {
			checks++
			pass, reason := peers[name].verify(t, k, fields+msg)
			c.verifier = name
			class := crossDifference(c)
			switch {
			case pass:
			case class != "":
				differences[class]++
			default:
				assert.Fail(t, "does not verify", "%s says of %s: %s\n%q", name, about, reason, fields+msg)
			}
			if tampered != "" {
				checks++
				pass, _ := peers[name].verify(t, k, tampered)
				assert.False(t, pass, "%s accepts %s, changed\n%q", name, about, tampered)
			}
		}
	}
	for _, name := range names {
		assert.Positive(t, signed[name], name)
	}
	for _, d := range crossDifferences {
		assert.Positive(t, differences[d.class], "no difference: %s", d.class)
		t.Log(differences[d.class], d.class)
	}
	t.Logf("%d messages, signed by %v: %d checks in %v", crossMessages, signed, checks, time.Since(began))
}

// crossCase is what matters for the differences.
type crossCase struct {
	signer, verifier string
	algorithm        dkim.Algorithm
	canon            string
	bare, open, long bool // a bare CR or LF; no CRLF at the end; over 4 KiB
}

// with reports whether a library signs or verifies.
func (c crossCase) with(name string) bool { return c.signer == name || c.verifier == name }

func (c crossCase) body(name string) bool { return strings.HasSuffix(c.canon, "/"+name) }

// crossDifferences are the cases in which the libraries need not agree, and what
// decides. In all others they must.
var crossDifferences = []struct {
	class string
	is    func(c crossCase) bool
}{
	{"Mail::DKIM of 2023 knows no Ed25519 (RFC 8463 §3)", func(c crossCase) bool {
		return c.verifier == "Mail::DKIM" && c.algorithm == dkim.Ed25519SHA256
	}},
	{"OpenDKIM hashes its own field in another folding than it returns where it is short; nor does it verify it (RFC 6376 §3.4.1, §3.7)", func(c crossCase) bool {
		return c.signer == "OpenDKIM" && c.algorithm == dkim.Ed25519SHA256 && strings.HasPrefix(c.canon, "simple/")
	}},
	{"bare CR or LF: nobody has to take them, some make CRLF of them (RFC 6376 §5.3)", func(c crossCase) bool {
		return c.bare && c.signer != c.verifier || c.bare && c.signer != "posta"
	}},
	{"Mail::DKIM adds no CRLF to a simple body that ends without (RFC 6376 §3.4.3)", func(c crossCase) bool {
		return c.open && c.body("simple") && c.with("Mail::DKIM")
	}},
	{"dkimpy adds no CRLF to a relaxed body that ends without (RFC 6376 §3.4.4)", func(c crossCase) bool {
		return c.open && c.body("relaxed") && c.with("dkimpy")
	}},
	{"OpenDKIM takes no relaxed body that ends without CRLF, and not every long simple one (RFC 6376 §3.4.3, §3.4.4)", func(c crossCase) bool {
		return c.open && (c.body("relaxed") || c.long) && c.with("OpenDKIM")
	}},
}

// crossDifference is the first class of differences that a case belongs to.
func crossDifference(c crossCase) string {
	for _, d := range crossDifferences {
		if d.is(c) {
			return d.class
		}
	}
	return ""
}
