package interop

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCurl(t *testing.T) {
	t.Parallel()
	peer(t, "curl")
	s := start(t)
	curl := func(t *testing.T, args ...string) string {
		t.Helper()
		return run(t, "", "curl", append([]string{"-sS", "--cacert", certFile(), "--max-time", "60"}, args...)...)
	}
	t.Run("smtp", func(t *testing.T) {
		file := write(t, filepath.Join(t.TempDir(), "m"), message("someone@peer.test", bob, "curl smtp", "by smtp"))
		curl(t, "--url", "smtp://"+s.addrs["smtp"], "--mail-from", "someone@peer.test", "--mail-rcpt", bob, "--mail-rcpt", carol, "-T", file)
		s.find(t, bob, "INBOX", "Subject: curl smtp\r\n")
		s.find(t, carol, "INBOX", "Subject: curl smtp\r\n")
	})
	for _, c := range []struct{ name, url string }{{"submission", "smtp://" + s.addrs["submission"]}, {"smtps", "smtps://" + s.addrs["submissions"]}} {
		t.Run(c.name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "m"), message(alice, bob, "curl "+c.name, "by "+c.name))
			curl(t, "--ssl-reqd", "--url", c.url, "--user", alice+":"+alicePassword, "--mail-from", alice, "--mail-rcpt", bob, "-T", file)
			m := s.find(t, bob, "INBOX", "Subject: curl "+c.name+"\r\n")
			assert.Regexp(t, `\r\n\r\nby \w+\r\n$`, string(m.raw))
		})
	}
	for _, c := range []struct{ name, url string }{{"imap", "imap://" + s.addrs["imap"]}, {"imaps", "imaps://" + s.addrs["imaps"]}} {
		t.Run(c.name, func(t *testing.T) {
			curlIMAP(t, s, c.url, curl)
			curlIMAPMore(t, s, c.url, curl)
		})
	}
	for _, c := range []struct{ name, url string }{{"pop3", "pop3://" + s.addrs["pop3"]}, {"pop3s", "pop3s://" + s.addrs["pop3s"]}} {
		t.Run(c.name, func(t *testing.T) { curlPOP3(t, s, c.url, curl) })
	}
}

func curlIMAP(t *testing.T, s *server, url string, curl func(*testing.T, ...string) string) {
	do := func(path string, args ...string) string {
		return curl(t, append([]string{"--ssl-reqd", "--user", alice + ":" + alicePassword, "--url", url + path}, args...)...)
	}
	name := strings.SplitN(url, ":", 2)[0]
	list := do("/")
	for _, want := range []string{`"INBOX"`, `\Drafts) "/" "Drafts"`, `\Sent) "/" "Sent"`, `\Junk) "/" "Junk"`, `\Trash) "/" "Trash"`} {
		assert.Contains(t, list, want)
	}
	do("", "-X", "CREATE "+name)
	first := message(alice, alice, "curl append one", "first body")
	second := message(alice, alice, "curl append two", "second body")
	for _, m := range []string{first, second} {
		do("/"+name, "-T", write(t, filepath.Join(t.TempDir(), "m"), m))
	}
	assert.Equal(t, first, do("/"+name+";UID=1"))
	assert.Equal(t, second, do("/"+name+";MAILINDEX=2"))
	assert.Equal(t, "second body\r\n", do("/"+name+";UID=2;SECTION=TEXT"))
	assert.Contains(t, do("/"+name+"?SUBJECT%20two"), "* SEARCH 2\r\n")
	assert.Contains(t, do("/"+name, "-X", "STORE 2 +FLAGS (\\Deleted)"), `\Deleted`)
	assert.Contains(t, do("/"+name, "-X", "EXPUNGE"), "* 2 EXPUNGE")
	assert.Contains(t, do("", "-X", "STATUS "+name+" (MESSAGES UIDNEXT)"), "(MESSAGES 1 UIDNEXT 3)")
	assert.Contains(t, do("/"+name, "-X", "FETCH 1 (ENVELOPE BODYSTRUCTURE)"), `"curl append one"`)
}

// curlIMAPMore are URLs of RFC 5092, commands of extensions, and ways to log in.
func curlIMAPMore(t *testing.T, s *server, url string, curl func(*testing.T, ...string) string) {
	do := func(path string, args ...string) string {
		return curl(t, append([]string{"--ssl-reqd", "--user", alice + ":" + alicePassword, "--url", url + path}, args...)...)
	}
	name := strings.SplitN(url, ":", 2)[0] + "-more"
	do("", "-X", "CREATE "+name)
	m := message(alice, alice, "curl more", "0123456789")
	do("/"+name, "-T", write(t, filepath.Join(t.TempDir(), "m"), m))
	assert.Equal(t, m[6:16], do("/"+name+"/;UID=1/;PARTIAL=6.10"))
	assert.Equal(t, "0123456789\r\n", do("/"+name+"/;MAILINDEX=1/;SECTION=TEXT"))
	assert.Equal(t, m[:len(m)-12], do("/"+name+"/;UID=1/;SECTION=HEADER"))
	validity := regexp.MustCompile(`UIDVALIDITY (\d+)\)`).FindStringSubmatch(do("", "-X", "STATUS "+name+" (UIDVALIDITY)"))
	require.Len(t, validity, 2)
	assert.Equal(t, m, do("/"+name+";UIDVALIDITY="+validity[1]+"/;UID=1"))
	_, err := try(t, "", "curl", "-sS", "--cacert", certFile(), "--ssl-reqd", "--user", alice+":"+alicePassword, "--url", url+"/"+name+";UIDVALIDITY=1"+validity[1]+"/;UID=1")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 78, exit.ExitCode(), "another UIDVALIDITY")

	assert.Contains(t, do("", "-X", "NAMESPACE"), `* NAMESPACE (("" "/"))`)
	assert.Contains(t, do("", "-X", "GETQUOTAROOT "+name), "* QUOTAROOT \""+name+"\"")
	assert.Contains(t, do("", "-X", `LIST "" `+name+` RETURN (SUBSCRIBED CHILDREN)`), `(\HasNoChildren) "/" "`+name+`"`)
	assert.Contains(t, do("/"+name, "-X", "UID SEARCH RETURN (ALL COUNT) SUBJECT more"), "UID COUNT 1 ALL 1")
	assert.Contains(t, do("/"+name, "-X", "UID SORT (REVERSE DATE) UTF-8 ALL"), "* SORT 1\r\n")
	assert.Contains(t, do("/"+name, "-X", "UID THREAD REFERENCES UTF-8 ALL"), "* THREAD (1)\r\n")
	assert.Contains(t, do("/"+name, "-X", "FETCH 1 (PREVIEW SAVEDATE EMAILID)"), "0123456789")
	assert.Contains(t, do("", "-X", "MYRIGHTS "+name), "* MYRIGHTS \""+name+"\" l")

	// Of what the server offers, curl can do PLAIN and LOGIN, in one step as soon as SASL-IR is told.
	for options, want := range map[string]string{"AUTH=PLAIN": `> A\d+ AUTHENTICATE PLAIN \S+`, "AUTH=LOGIN": `> A\d+ AUTHENTICATE LOGIN \S+`, "AUTH=*": `> A\d+ AUTHENTICATE \S+ `} {
		assert.Regexp(t, want, do("/"+name, "-X", "NOOP", "-v", "--sasl-ir", "--login-options", options), options)
	}
}

func curlPOP3(t *testing.T, s *server, url string, curl func(*testing.T, ...string) string) {
	do := func(path string, args ...string) string {
		return curl(t, append([]string{"--ssl-reqd", "--user", carol + ":" + carolPassword, "--url", url + path}, args...)...)
	}
	before := strings.Count(do("/"), "\n")
	m := message(carol, carol, "curl pop3", "..two dots\r\n.one dot")
	s.append(t, carol, "INBOX", m)
	assert.Equal(t, before+1, strings.Count(do("/"), "\n"), "LIST")
	number := "/" + string(rune('0'+before+1))
	assert.Equal(t, m, do(number))
	uidl := do("/", "-X", "UIDL")
	assert.Equal(t, before+1, strings.Count(uidl, "\n"))
	assert.Contains(t, do("/", "-X", "TOP "+number[1:]+" 1"), "..two dots\r\n")
	do(number, "-X", "DELE", "-I")
	require.Equal(t, before, strings.Count(do("/"), "\n"), "after DELE")
}
