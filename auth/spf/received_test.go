package spf_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/spf"
)

func TestParseReceived(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for body, want := range map[string]spf.Received{
		"none":           {},
		" Pass \r\n":     {Status: spf.Pass},
		"softfail (a)":   {Status: spf.SoftFail, Comment: "a"},
		"permerror(a)":   {Status: spf.PermError, Comment: "a"},
		"fail x=y":       {Status: spf.Fail, Other: []string{"x=y"}},
		"fail X=\"\";;;": {Status: spf.Fail, Other: []string{"x="}},
		// The example of RFC 7208 §9.1.
		"pass (mybox.example.org: domain of\r\n myname@example.com designates 192.0.2.1 as permitted sender)\r\n" +
			" receiver=mybox.example.org; client-ip=192.0.2.1;\r\n envelope-from=\"myname@example.com\"; helo=foo.example.com;": {
			Status: spf.Pass, Comment: "mybox.example.org: domain of myname@example.com designates 192.0.2.1 as permitted sender",
			Receiver: "mybox.example.org", ClientIP: v4, Sender: "myname@example.com", HELO: "foo.example.com"},
		"fail (mybox.example.org: domain of\r\n\tmyname@example.com does not designate 192.0.2.1 as permitted sender)\r\n" +
			"\tidentity=mailfrom; client-ip=192.0.2.1; envelope-from=\"myname@example.com\";": {
			Status: spf.Fail, Comment: "mybox.example.org: domain of myname@example.com does not designate 192.0.2.1 as permitted sender",
			Identity: "mailfrom", ClientIP: v4, Sender: "myname@example.com"},
		// As others write it.
		"pass (google.com: domain of a@b.test designates 2001:db8::1 as permitted sender) client-ip=2001:db8::1;": {
			Status: spf.Pass, Comment: "google.com: domain of a@b.test designates 2001:db8::1 as permitted sender", ClientIP: v6},
		"Pass (mailfrom) identity=MailFrom; client-ip=192.0.2.1; helo=h.test; envelope-from=a@b.test; receiver=<UNKNOWN> ": {
			Status: spf.Pass, Comment: "mailfrom", Identity: "mailfrom", ClientIP: v4, HELO: "h.test", Sender: "a@b.test", Receiver: "<UNKNOWN>"},
		"(x) neutral (a (b) \\(c) (d) helo (e) = (f) h.test (g); (h) problem=\"q\\\"\\\\ \r\n r\"; helo=second; mechanism=-all": {
			Status: spf.Neutral, Comment: "a (b) (c", HELO: "h.test", Problem: "q\"\\  r", Mechanism: "-all"},
		"none client-ip=nonsense": {},
	} {
		got, err := spf.ParseReceived(body)
		if assert.NoError(t, err, body) {
			assert.Equal(t, want, *got, body)
		}
	}
	for _, body := range []string{"", " ", "maybe", "pass;", "pass x", "pass =y", "pass (a", "pass (a) helo", "pass helo=\"a", "pass (\\", "pass x=\"\\", "pass a=b (c", ")pass", "pass ) x=y"} {
		_, err := spf.ParseReceived(body)
		assert.ErrorIs(t, err, spf.ErrField, body)
	}
	for _, body := range []string{"pass " + strings.Repeat("(", 17), "pass" + strings.Repeat(" a=b;", 51), "pass (" + strings.Repeat("x", 17<<10) + ")"} {
		_, err := spf.ParseReceived(body)
		assert.ErrorIs(t, err, spf.ErrFieldLimit)
	}
	_, err := spf.ParseReceived("pass" + strings.Repeat(" a=b;", 50))
	assert.NoError(t, err)
}

func FuzzParseReceived(f *testing.F) {
	for _, s := range []string{"pass", "fail (a(b)) x=\"y\\\"\"; client-ip=1.2.3.4;", "none helo=a.b envelope-from=c", "pass (", "softfail\r\n\t(\\)) a = b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := spf.ParseReceived(s)
		if err != nil {
			if !errors.Is(err, spf.ErrField) && !errors.Is(err, spf.ErrFieldLimit) {
				t.Fatal(err)
			}
			return
		}
		if all := r.Comment + r.Sender + r.HELO + r.Receiver + r.Mechanism + r.Problem + r.Identity + strings.Join(r.Other, ""); len(all) > len(s)+len(r.Other) {
			t.Fatalf("%q is more than %q", all, s)
		}
	})
}

// FuzzReceivedSPF: whatever goes in, one well-formed field comes out, which says
// what went in.
func FuzzReceivedSPF(f *testing.F) {
	f.Add(uint8(2), false, "example.com", "user@example.com", "mx.example.com", "-all", "mx.example.org", "why")
	f.Add(uint8(6), true, "a\r\nEvil: 1", "a)b(c\\", "a\"b\\", "\x00\x7f\u0085\u2028", "ü@bücher.example", "\xff\xfe")
	f.Add(uint8(3), false, "..", "; client-ip=1.2.3.4", "x y", " ", "\t", "\"; identity=helo")
	f.Fuzz(func(t *testing.T, status uint8, helo bool, domain, sender, name, mechanism, receiver, problem string) {
		r := spf.Result{Status: spf.Status(status % 7), Domain: domain, Sender: sender, HELO: name, Mechanism: mechanism, IP: netip.MustParseAddr("192.0.2.1")}
		if helo {
			r.Identity = spf.HELO
		}
		if problem != "" {
			r.Err = errors.New(problem)
		}
		v := r.ReceivedSPF(receiver)
		checkHeader(t, v)
		got, err := spf.ParseReceived(v)
		require.NoError(t, err, "%q", v)
		require.Equal(t, r.Status, got.Status)
		require.Equal(t, r.IP, got.ClientIP, "%q", v)
		require.Equal(t, r.Identity.String(), got.Identity)
		require.Empty(t, got.Other)
		if mechanism == "" && r.Status == spf.Neutral {
			mechanism = "default"
		}
		for _, p := range [][2]string{{sender, got.Sender}, {name, got.HELO}, {mechanism, got.Mechanism}, {receiver, got.Receiver}, {problem, got.Problem}} {
			if len(p[0]) <= 320 && !strings.ContainsFunc(p[0], func(c rune) bool { return c < ' ' || c > '~' }) {
				require.Equal(t, p[0], p[1])
			}
		}
	})
}
