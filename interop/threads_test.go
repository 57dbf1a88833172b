package interop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// talk is a conversation by IMAP, line by line.
type talk struct {
	t *testing.T
	c *tls.Conn
	r *bufio.Reader
	n int
}

func talkTo(t *testing.T, addr, user, password string) *talk {
	c, err := tls.Dial("tcp", addr, trusting(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	k := &talk{t: t, c: c, r: bufio.NewReader(c)}
	_, err = k.r.ReadString('\n')
	require.NoError(t, err)
	k.do(fmt.Sprintf("LOGIN %s {%d+}\r\n%s", user, len(password), password))
	return k
}

// do sends a command that must succeed and returns the untagged lines.
func (k *talk) do(cmd string) (lines []string) {
	k.t.Helper()
	k.n++
	tag := fmt.Sprint("t", k.n)
	_ = k.c.SetDeadline(time.Now().Add(time.Minute))
	_, err := io.WriteString(k.c, tag+" "+cmd+"\r\n")
	require.NoError(k.t, err)
	for {
		line, err := k.r.ReadString('\n')
		require.NoError(k.t, err)
		if line = strings.TrimRight(line, "\r\n"); strings.HasPrefix(line, tag+" ") {
			require.True(k.t, strings.HasPrefix(line, tag+" OK"), "%s: %s", cmd, line)
			return lines
		}
		lines = append(lines, line)
	}
}

// conversations are messages that reply to each other, as orderly as people are:
// references are missing, doubled, in circles, and of messages never seen. Odd
// ones have dates that are none, too.
func conversations(r *rand.Rand, n int, odd bool) (all []string) {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	id := func() string { return fmt.Sprintf("<m%d@x.test>", r.IntN(n+n/5)) }
	for i := range n {
		var b strings.Builder
		fmt.Fprintf(&b, "From: %s%s@%s.test\r\n", pick("", "Zoe <", "\"Abe B\" <", "=?utf-8?q?=C3=84nne?= <"), pick("a", "B", "carl", "Dora"), pick("x", "y"))
		if s := b.String(); strings.Contains(s, "<") {
			b.Reset()
			b.WriteString(strings.TrimSuffix(s, "\r\n") + ">\r\n")
		}
		fmt.Fprintf(&b, "To: %s\r\n", pick("r@x.test", "\"Q\" <S@x.test>, r@x.test", "t@x.test"))
		if r.IntN(3) > 0 {
			fmt.Fprintf(&b, "Cc: %s@x.test\r\n", pick("u", "v", "W"))
		}
		label := pick("", "", "Re: ", "RE: [list] ", "[fwd: ", "[a][b] ", "Re:Re:", "re [x] : ", "[Fwd: Re: ", "\t re:\t", "[list] ", "Fwd: ", "re[2]: ", "Fw : ")
		fmt.Fprintf(&b, "Subject: %s%s%s\r\n", label, pick("lunch", "Lunch", "plans for  May", "caf\xc3\xa9"[:3]+"e", "=?utf-8?q?caf=C3=A9?=", "hello", "x", fmt.Sprint("topic ", r.IntN(n))), pick("", "", "", " (fwd)", " (FWD) ", "  "))
		if date := pick("", "yesterday", "Mon, 32 Nov 2026 10:00:00 +0000", "3 Nov 26 10:00 EST", "Tue, 3 Nov 2026 10:00:00", "3 Nov 2026 10:00 (c) +0130 (x)"); odd && r.IntN(4) == 0 {
			fmt.Fprintf(&b, "Date: %s\r\n", date)
		} else {
			fmt.Fprintf(&b, "Date: %s\r\n", time.Date(2026, 11, 1, 0, r.IntN(5*n), 0, 0, time.UTC).In(time.FixedZone("", 3600*(r.IntN(24)-12))).Format(time.RFC1123Z))
		}
		if r.IntN(20) > 0 {
			fmt.Fprintf(&b, "Message-ID: %s\r\n", pick(fmt.Sprintf("<m%d@x.test>", i), fmt.Sprintf("<m%d@x.test>", i), fmt.Sprintf("<m%d@x.test>", i), fmt.Sprintf("<\"m%d\"@x.test>", i), id()))
		}
		switch r.IntN(4) {
		case 0:
			fmt.Fprintf(&b, "In-Reply-To: %s%s\r\n", pick("", "Your message of yesterday "), id())
		case 1, 2:
			b.WriteString("References:")
			for range 1 + r.IntN(4) {
				b.WriteString(pick(" ", "\r\n ") + id())
			}
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "\r\n%s\r\n", strings.Repeat("x", r.IntN(200)))
		all = append(all, b.String())
	}
	return all
}

// SORT and THREAD give what Dovecot's give.
func TestDovecotOrder(t *testing.T) {
	t.Parallel()
	s, d := start(t), startDovecot(t, "")
	ours, theirs := talkTo(t, s.addrs["imaps"], alice, alicePassword), talkTo(t, d.imaps, "anna", dovecotPassword)
	for box, odd := range map[string]bool{"Even": false, "Odd": true} {
		const n = 300
		for i, m := range conversations(rand.New(rand.NewPCG(52, 56)), n, odd) {
			for _, k := range []*talk{ours, theirs} {
				if i == 0 {
					k.do("CREATE " + box)
				}
				k.do(fmt.Sprintf("APPEND %s %q {%d+}\r\n%s", box, time.Date(2026, 11, 10, 0, i*37%n, 0, 0, time.UTC).Format("02-Jan-2006 15:04:05 -0700"), len(m), m))
			}
		}
		ours.do("SELECT " + box)
		theirs.do("SELECT " + box)
		for _, cmd := range []string{
			"SORT (ARRIVAL) UTF-8 ALL", "SORT (DATE) UTF-8 ALL", "SORT (REVERSE DATE) UTF-8 ALL", "SORT (FROM DATE) UTF-8 ALL", "SORT (TO REVERSE SIZE) UTF-8 ALL",
			"SORT (CC SUBJECT) UTF-8 ALL", "SORT (SUBJECT) UTF-8 ALL", "SORT (REVERSE SUBJECT REVERSE ARRIVAL) UTF-8 FROM a", "SORT (DISPLAYFROM) UTF-8 ALL", "SORT (DISPLAYTO CC) UTF-8 ALL",
			"UID SORT (SIZE) UTF-8 SUBJECT lunch", "SORT (DATE) UTF-8 SUBJECT nowhere",
			"THREAD ORDEREDSUBJECT UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "THREAD REFS UTF-8 ALL", "UID THREAD REFERENCES UTF-8 1:150", "UID THREAD REFERENCES UTF-8 FROM a", "THREAD REFS UTF-8 SUBJECT lunch",
		} {
			if odd && strings.Contains(cmd, "REFS") {
				continue // which thread is first of those of one date is nowhere said
			}
			assert.Equal(t, theirs.do(cmd), ours.do(cmd), "%s: %s", box, cmd)
		}
		for _, cmd := range []string{"SORT RETURN (MIN MAX COUNT) (SUBJECT DATE) UTF-8 ALL", "UID SORT RETURN (ALL) (REVERSE DATE) UTF-8 FROM a", "SORT RETURN (PARTIAL 11:20) (DATE) UTF-8 ALL"} {
			a, b := theirs.do(cmd), ours.do(cmd)
			assert.Equal(t, cutTag(a), cutTag(b), "%s: %s", box, cmd)
		}
	}
}

// cutTag leaves out the tag that an ESEARCH names.
func cutTag(lines []string) string {
	_, rest, _ := strings.Cut(strings.Join(lines, "\n"), ")")
	return rest
}
