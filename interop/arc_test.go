package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// debianPython is the one that Debian's packages install for.
const debianPython = "/usr/bin/python3"

// lineProcess is a process that answers each line of JSON with one.
type lineProcess struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// startLines starts a script that is to answer lines until the test ends, after
// a command that fails where a library is missing.
func startLines(t *testing.T, have []string, command ...string) *lineProcess {
	t.Helper()
	if out, err := exec.Command(have[0], have[1:]...).CombinedOutput(); err != nil {
		missing(t, "%s: %v\n%s", strings.Join(have, " "), err, out)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		assert.NoError(t, cmd.Wait())
	})
	return &lineProcess{in, bufio.NewReader(out)}
}

func (p *lineProcess) ask(t *testing.T, question, answer any) {
	t.Helper()
	line, err := json.Marshal(question)
	require.NoError(t, err)
	_, err = p.in.Write(append(line, '\n'))
	require.NoError(t, err)
	line, err = p.out.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, answer), "%s", line)
}

// arcPeer seals and verifies.
type arcPeer struct {
	name string
	*lineProcess
}

type arcQuestion struct {
	Op       string            `json:"op"`
	Message  []byte            `json:"message"`
	Domain   string            `json:"domain,omitempty"`
	Selector string            `json:"selector,omitempty"`
	ServID   string            `json:"servid,omitempty"`
	Key      string            `json:"key,omitempty"`
	Keys     map[string]string `json:"keys,omitempty"`
}

type arcAnswer struct {
	Status, Reason, Error string
	Fields                []byte
}

func arcPeers(t *testing.T) []arcPeer {
	t.Helper()
	return []arcPeer{
		{"dkimpy", startLines(t, []string{debianPython, "-c", "import dkim, authres, nacl"},
			debianPython, filepath.Join("testdata", "arc_dkimpy.py"))},
		{"Mail::DKIM", startLines(t, []string{"perl", "-MMail::DKIM::ARC::Verifier", "-MJSON::PP", "-e", "1"},
			"perl", filepath.Join("testdata", "arc_maildkim.pl"))},
	}
}

// arcHop is a system that seals, known to all by its key.
type arcHop struct {
	domain string
	key    *rsa.PrivateKey
}

type arcKeys map[string]string

func (k arcKeys) LookupTXT(_ context.Context, name string) ([]string, error) {
	if text, ok := k[name]; ok {
		return []string{text}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func arcHops(t *testing.T, n int) (hops []arcHop, keys arcKeys) {
	keys = arcKeys{}
	for i := range n {
		key, err := dkim.GenerateKey(dkim.RSASHA256)
		require.NoError(t, err)
		text, err := dkim.Record(key)
		require.NoError(t, err)
		domain := fmt.Sprintf("hop%d.example", i+1)
		keys["sel._domainkey."+domain] = text
		hops = append(hops, arcHop{domain, key.(*rsa.PrivateKey)})
	}
	return hops, keys
}

// arcMessage is a message of some odd shape.
func arcMessage(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	b.WriteString("From: Ann <ann@author.example>\r\nTo: list@hop1.example\r\n")
	b.WriteString("Subject: " + pick("plain", "two  spaces", "tab\there", "folded\r\n line", "folded \r\n\t tab", "", "trailing \t") + "\r\n")
	b.WriteString("Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <" + fmt.Sprint(r.Uint64()) + "@author.example>\r\n")
	b.WriteString(pick("", "MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
		"X-Odd: caf\xc3\xa9 \xff\r\n", "Received: by a; x\r\nReceived: by b; y\r\n", "Subject: another\r\n", "List-ID: <a.b>\r\nx-LOWER:no space\r\n"))
	b.WriteString("\r\n")
	for range r.IntN(6) {
		b.WriteString(pick("text\r\n", "  two  words \r\n", "\r\n", "\t\r\n", "caf\xc3\xa9 \xfe\r\n", "\r\n\r\n\r\n", ".dot\r\n", "last"))
	}
	return b.String()
}

// verdicts asks all for the state of a chain.
func verdicts(t *testing.T, peers []arcPeer, keys arcKeys, msg string) (ours *arc.Result, theirs []arcAnswer) {
	t.Helper()
	ours, err := (&arc.Verifier{Resolver: keys}).Verify(context.Background(), strings.NewReader(msg))
	require.NoError(t, err)
	for _, p := range peers {
		var a arcAnswer
		p.ask(t, arcQuestion{Op: "verify", Message: []byte(msg), Keys: keys}, &a)
		require.Empty(t, a.Error, "%s\n%s", p.name, msg)
		theirs = append(theirs, a)
	}
	return ours, theirs
}

// TestARCTogether has messages pass through up to four systems, each of which
// may change them and seals with any of the libraries, and all libraries verify
// at each step.
func TestARCTogether(t *testing.T) {
	t.Parallel()
	peers := arcPeers(t)
	hops, keys := arcHops(t, 4)
	sealedBy := map[string]int{}
	began := time.Now()
	messages := 0
	for n := range 60 {
		r := rand.New(rand.NewPCG(uint64(n), 6))
		msg := arcMessage(r)
		for i := range 1 + r.IntN(len(hops)) {
			in, theirs := verdicts(t, peers, keys, msg)
			messages++
			want := arc.StatusPass
			if i == 0 {
				want = arc.StatusNone
			}
			require.Equal(t, want, in.Status, "%v", in.Err)
			for j, a := range theirs {
				require.EqualValues(t, want, a.Status, "%s, message %d: %s\n%s", peers[j].name, n, a.Reason, msg)
			}
			if r.IntN(3) == 0 {
				msg += "-- \r\nfooter\r\n"
			}
			by := r.IntN(len(peers) + 1)
			name := "posta"
			if by < len(peers) {
				name = peers[by].name
			}
			sealedBy[name]++
			msg = arcSeal(t, peers, by, hops[i], in, msg)
		}
		in, theirs := verdicts(t, peers, keys, msg)
		require.Equal(t, arc.StatusPass, in.Status, "%v", in.Err)
		for j, a := range theirs {
			require.Equal(t, "pass", a.Status, "%s, message %d: %s\n%s", peers[j].name, n, a.Reason, msg)
		}
	}
	assert.Len(t, sealedBy, 3)
	t.Logf("%d states of messages, sealed by %v, in %v", messages, sealedBy, time.Since(began))
}

// arcSeal has a hop seal with a library: that of peers[by], or ours.
func arcSeal(t *testing.T, peers []arcPeer, by int, hop arcHop, in *arc.Result, msg string) string {
	t.Helper()
	h := authres.Header{ServID: "mx." + hop.domain, Results: []authres.Result{
		authres.SPF("pass", "ann@author.example", ""),
		{Method: authres.MethodARC, Value: string(in.Status)},
		authres.DMARC("pass", "author.example", ""),
	}}
	if by >= len(peers) {
		s := arc.Sealer{Signer: &dkim.Signer{Domain: hop.domain, Selector: "sel", Key: hop.key}}
		fields, err := s.Seal(context.Background(), in, &h, strings.NewReader(msg))
		require.NoError(t, err)
		return string(fields) + msg
	}
	// They take the results from the message.
	field, err := h.Field()
	require.NoError(t, err)
	msg = field + msg
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(hop.key)})
	var a arcAnswer
	peers[by].ask(t, arcQuestion{Op: "seal", Message: []byte(msg), Domain: hop.domain, Selector: "sel", ServID: h.ServID, Key: string(key)}, &a)
	require.Empty(t, a.Error, peers[by].name)
	require.True(t, bytes.HasSuffix(a.Fields, []byte("\r\n")), "%q", a.Fields)
	return string(a.Fields) + msg
}

// arcDifferences are the changes after which a library says something else than
// we do, and what decides.
var arcDifferences = map[string]string{
	// Where From is not signed once more than it occurs, that is by the others.
	"Mail::DKIM: second from": "RFC 6376 §8.15: not exactly one From is not to be verified",
}

// TestARCTampered changes chains in many ways: all libraries say the same.
func TestARCTampered(t *testing.T) {
	t.Parallel()
	peers := arcPeers(t)
	hops, keys := arcHops(t, 4)
	seen := map[string]bool{}
	counts := map[arc.Status]int{}
	for n := range 6 {
		r := rand.New(rand.NewPCG(uint64(n), 17))
		chain := arcMessage(r) + "end\r\n"
		for i := range 3 {
			in, err := (&arc.Verifier{Resolver: keys}).Verify(context.Background(), strings.NewReader(chain))
			require.NoError(t, err)
			chain = arcSeal(t, peers, (n+i)%3, hops[i], in, chain)
		}
		for what, msg := range arcTampered(t, chain, keys, hops[3]) {
			require.NotEqual(t, chain, msg, what)
			ours, theirs := verdicts(t, peers, keys, msg)
			counts[ours.Status]++
			for j, a := range theirs {
				if a.Status == "invalid" {
					a.Status = "fail" // Mail::DKIM of what cannot be read
				}
				key := peers[j].name + ": " + what
				if string(ours.Status) == a.Status {
					continue
				}
				seen[key] = true
				assert.Contains(t, arcDifferences, key, "we say %s (%v), they %s (%s)", ours.Status, ours.Err, a.Status, a.Reason)
			}
		}
	}
	for key := range arcDifferences {
		assert.True(t, seen[key], "no difference: %s", key)
	}
	assert.Positive(t, counts[arc.StatusPass])
	t.Logf("%v", counts)
}

// TestARCFailed: the seal of a chain that failed covers its own set alone (RFC
// 8617 §5.1.2), whoever makes it. No library verifies such seals, so this does.
func TestARCFailed(t *testing.T) {
	t.Parallel()
	peers := arcPeers(t)
	hops, keys := arcHops(t, 2)
	for by := range 3 {
		msg := arcSeal(t, peers, by, hops[0], &arc.Result{Status: arc.StatusNone}, arcMessage(rand.New(rand.NewPCG(1, 1)))) + "x\r\n"
		in, err := (&arc.Verifier{Resolver: keys}).Verify(context.Background(), strings.NewReader(msg))
		require.NoError(t, err)
		require.Equal(t, arc.StatusFail, in.Status)
		msg = arcSeal(t, peers, by, hops[1], in, msg)
		h := dkim.NewHeader(0, 0)
		h.Take([]byte(msg))
		require.NoError(t, h.Close())
		newest := func(name string) []byte { return h.Fields(name)[0] }
		sum := sha256.New()
		for _, name := range []string{"arc-authentication-results", "arc-message-signature"} {
			sum.Write(append(dkim.Relaxed.AppendHeader(nil, newest(name)), "\r\n"...))
		}
		seal := string(newest("arc-seal"))
		colon := strings.IndexByte(seal, ':') + 1
		tags, err := dkim.ParseTags(seal[colon:])
		require.NoError(t, err)
		cv, _ := tags.Get("cv")
		require.Equal(t, "fail", cv)
		for _, tag := range tags {
			if tag.Name == "b" {
				seal = seal[:colon+tag.Start] + seal[colon+tag.End:]
			}
		}
		sum.Write(dkim.Relaxed.AppendHeader(nil, []byte(seal)))
		b, _ := tags.Get("b")
		sig, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(b), ""))
		require.NoError(t, err)
		record, err := dkim.ParseKeyRecord(keys["sel._domainkey."+hops[1].domain])
		require.NoError(t, err)
		assert.NoError(t, record.Verify(sum.Sum(nil), sig), "sealed by %d", by)
	}
}

// arcTampered returns variants of a chain of three sets by what was done to it.
func arcTampered(t *testing.T, msg string, keys arcKeys, fourth arcHop) map[string]string {
	t.Helper()
	head, body, _ := strings.Cut(msg, "\r\n\r\n")
	var fields []string
	for line := range strings.SplitAfterSeq(head+"\r\n", "\n") {
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			fields[len(fields)-1] += line
		} else if line != "" {
			fields = append(fields, line)
		}
	}
	// edit changes the fields of a name, counted from the oldest set, or all.
	edit := func(name string, instance int, f func(string) string) string {
		out := append([]string(nil), fields...)
		n := 0
		for i := len(out) - 1; i >= 0; i-- {
			if strings.HasPrefix(out[i], name+":") {
				if n++; n == instance || instance == 0 {
					out[i] = f(out[i])
				}
			}
		}
		return strings.Join(out, "") + "\r\n" + body
	}
	swap := func(from, to string) func(string) string {
		return func(s string) string { return strings.Replace(s, from, to, 1) }
	}
	remove := func(string) string { return "" }
	double := func(s string) string { return s + s }
	v := map[string]string{
		"body": msg + "x\r\n", "blank lines": msg + "\r\n\r\n", "subject": edit("Subject", 1, swap("Subject:", "Subject: Re:")),
		"from": edit("From", 1, swap("Ann", "Bob")), "second from": "From: <x@y.example>\r\n" + msg,
		"trace above": "Received: by x; y\r\n" + msg, "folding of from": edit("From", 1, swap("From: Ann", "From:\r\n  Ann ")),
	}
	for i := 1; i <= 3; i++ {
		for _, name := range []string{"ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"} {
			what := fmt.Sprintf("%s %d ", name, i)
			v[what+"removed"] = edit(name, i, remove)
			v[what+"twice"] = edit(name, i, double)
			v[what+"folded"] = edit(name, i, swap("; ", ";\r\n\t "))
			v[what+"in capitals"] = edit(name, i, swap(name, strings.ToUpper(name)))
			v[what+"of 4"] = edit(name, i, swap(fmt.Sprintf("i=%d", i), "i=4"))
			v[what+"of 0"] = edit(name, i, swap(fmt.Sprintf("i=%d", i), "i=0"))
			if name != "ARC-Authentication-Results" {
				v[what+"signature"] = edit(name, i, func(s string) string {
					at := strings.LastIndex(s, "b=") + 20
					return s[:at] + string(rune('A'+('Z'-s[at])%26)) + s[at+1:]
				})
				v[what+"domain"] = edit(name, i, swap(fmt.Sprintf("hop%d.example", i), "hop4.example"))
				v[what+"selector"] = edit(name, i, swap("s=sel", "s=other"))
				v[what+"unknown tag"] = edit(name, i, swap("s=sel", "s=sel; zz=top"))
				v[what+"sha1"] = edit(name, i, swap("rsa-sha256", "rsa-sha1"))
			}
		}
		v[fmt.Sprint("results ", i)] = edit("ARC-Authentication-Results", i, swap("dmarc=pass", "dmarc=fail"))
		v[fmt.Sprint("cv=fail ", i)] = edit("ARC-Seal", i, func(s string) string { return swap("cv=pass", "cv=fail")(swap("cv=none", "cv=fail")(s)) })
		v[fmt.Sprint("h in seal ", i)] = edit("ARC-Seal", i, swap("s=sel", "s=sel; h=from"))
	}
	// What fails is sealed as failed.
	in, err := (&arc.Verifier{Resolver: keys}).Verify(context.Background(), strings.NewReader(msg+"x\r\n"))
	require.NoError(t, err)
	v["sealed as failed"] = arcSeal(t, nil, 0, fourth, in, msg+"x\r\n")
	return v
}
