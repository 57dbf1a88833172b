package smtp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
)

// from connects from an address.
func from(t *testing.T, l *memnet.Listener, ip string) *talk {
	t.Helper()
	nc, err := l.DialFrom(t.Context(), net.ParseIP(ip))
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	return &talk{Conn: nc, t: t, r: newBufReader(nc)}
}

const begun = "EHLO x\r\nMAIL FROM:<a@example.com>\r\n"

// Every quota by every source: what is over it is refused with its reply, only
// for that source, and only until the window is over.
func TestQuotas(t *testing.T) {
	for name, tc := range map[string]struct {
		quota Quota
		say   string   // on each of two connections
		first []string // what the first hears, after the greeting
		next  []string // what the second hears, from its greeting on
	}{
		"connections": {Quota{Conns: 1}, "QUIT\r\n", []string{"221 "}, []string{"421 4.7.0"}},
		"messages": {Quota{Messages: 2}, begun + "RSET\r\nMAIL FROM:<a@example.com>\r\nQUIT\r\n",
			[]string{"250 LIMITS", "250 2.1.0", "250 2.0.0", "250 2.1.0", "221 "},
			[]string{"220 ", "250 LIMITS", "451 4.7.1", "250 2.0.0", "451 4.7.1", "221 "}},
		"recipients": {Quota{Recipients: 2}, begun + "RCPT TO:<b@example.org>\r\nRCPT TO:<nobody@example.org>\r\nRCPT TO:<c@example.org>\r\nQUIT\r\n",
			[]string{"250 LIMITS", "250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.1.5", "221 "},
			[]string{"220 ", "250 LIMITS", "250 2.1.0", "450 4.7.1", "450 4.7.1", "450 4.7.1", "221 "}},
		"octets": {Quota{Octets: 4}, begun + "RCPT TO:<b@example.org>\r\nBDAT 5 LAST\r\nabc\r\nQUIT\r\n",
			[]string{"250 LIMITS", "250 2.1.0", "250 2.1.5", "250 2.6.0", "221 "},
			[]string{"220 ", "250 LIMITS", "451 4.7.1", "503 ", "503 ", "221 "}},
		"unknown recipients": {Quota{UnknownRecipients: 1}, begun + "RCPT TO:<nobody@example.org>\r\nQUIT\r\n",
			[]string{"250 LIMITS", "250 2.1.0", "550 5.1.1", "221 "}, []string{"421 4.7.0"}},
		"bad commands":  {Quota{BadCommands: 1}, "WHAT\r\nQUIT\r\n", []string{"500 ", "221 "}, []string{"421 4.7.0"}},
		"AUTH failures": {Quota{AuthFailures: 1}, "EHLO x\r\nAUTH PLAIN AGEAYg==\r\nQUIT\r\n", []string{"250 AUTH", "535 ", "221 "}, []string{"421 4.7.0"}},
	} {
		for i, scope := range []string{"server", "address", "network"} {
			t.Run(name+"/"+scope, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tc.quota.Window = time.Hour
					s := &Server{Hostname: "mx.example.org", Handler: &testHandler{}, Governor: &auth.Governor{Off: true},
						Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.77/32")}}
					if name == "AUTH failures" {
						s.Auth, s.InsecureAuth = testAuth{}, true
					}
					*[]*Quota{&s.PerServer, &s.PerAddr, &s.PerNetwork}[i] = tc.quota
					l := testServer(t, s)
					well := append([]string{"220 "}, tc.first...)
					play := func(ip string, want []string) {
						t.Helper()
						c := from(t, l, ip)
						if want[0] == "220 " {
							c.hear("220 ")
							c.say(tc.say)
							want = want[1:]
						}
						c.hear(want...)
						c.hearEOF()
					}
					play("192.0.2.1", well)
					play("192.0.2.1", tc.next)
					play("192.0.2.77", well) // exempt, and not counted
					for other, one := range map[string]int{"198.51.100.1": 0, "192.0.2.2": 2} {
						if i == one || i == 0 {
							play(other, tc.next)
						} else {
							play(other, well)
						}
					}
					time.Sleep(time.Hour)
					play("192.0.2.1", well)
				})
			})
		}
	}
}

// A source is not remembered for ever, and not every one of very many.
func TestLedgerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(&Server{PerAddr: Quota{Conns: 1, Window: time.Minute}})
		addr := netip.MustParseAddr("2001:db8::1")
		for i := range maxSources + 1000 {
			b := addr.As16()
			b[5], b[6], b[7] = byte(i>>16), byte(i>>8), byte(i)
			require.True(t, l.spend(l.source(netip.AddrFrom16(b)), countConn, 1), fmt.Sprint(i))
		}
		require.Len(t, l.scopes[scopeAddr].sources, maxSources)
		time.Sleep(time.Minute)
		require.True(t, l.spend(l.source(netip.MustParseAddr("192.0.2.1")), countConn, 1))
		require.LessOrEqual(t, len(l.scopes[scopeAddr].sources), 2)
	})
	require.Nil(t, newLedger(&Server{}))
	l := newLedger(&Server{PerAddr: Quota{Octets: 1}})
	src := l.source(netip.MustParseAddr("192.0.2.1"))
	require.True(t, l.spend(src, countOctet, 1<<62))
	require.False(t, l.spend(src, countOctet, 1<<62))
	require.False(t, l.left(src, countOctet), "the count does not overflow")
	require.True(t, l.spend(&source{}, countOctet, 1), "no address")
}

func TestConnsPerNetwork(t *testing.T) {
	l := testServer(t, &Server{Handler: &testHandler{}, MaxConnsPerNetwork: 2})
	a, b := from(t, l, "192.0.2.1"), from(t, l, "192.0.2.200")
	a.hear("220 ")
	b.hear("220 ")
	c := from(t, l, "192.0.2.3")
	c.hear("421 4.7.0")
	c.hearEOF()
	from(t, l, "192.0.3.1").hear("220 ")
	a.say("QUIT\r\n")
	a.hear("221 ")
	a.hearEOF()
	require.Eventually(t, func() bool {
		d := from(t, l, "192.0.2.4")
		line, err := d.r.ReadString('\n')
		return err == nil && line[:4] == "220 "
	}, 10*time.Second, time.Millisecond)
}

// Near its bounds a Server is short with those who do nothing.
func TestStress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []bool
		s := &Server{Handler: &testHandler{}, MaxConns: 5, Trace: &Trace{Stress: func(on bool) { log = append(log, on) }}}
		l := testServer(t, s)
		calm := from(t, l, "192.0.2.1")
		calm.hear("220 ")
		time.Sleep(time.Minute)
		var idle []*talk
		for i := range 3 {
			c := from(t, l, fmt.Sprintf("192.0.2.%d", 10+i))
			c.hear("220 ")
			idle = append(idle, c)
		}
		last := idle[2] // the fourth of five
		last.say("WHAT\r\nWHAT\r\n")
		last.hear("500 ", "421 4.7.0")
		last.hearEOF()
		synctest.Wait()
		again := from(t, l, "192.0.2.20")
		again.hear("220 ")
		began := time.Now()
		again.hear("421 4.4.2")
		again.hearEOF()
		require.Equal(t, 10*time.Second, time.Since(began).Round(time.Second))
		synctest.Wait()
		calm.say("NOOP\r\nWHAT\r\nWHAT\r\n")
		calm.hear("250 ", "500 ", "500 ")
		synctest.Wait()
		require.Equal(t, []bool{true, false}, log)
	})
}

// Who is over a quota gets nothing done, and cannot go on with it for ever.
func TestOverQuotaCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		quota      Quota
		line, code string
	}{
		"messages":   {Quota{Messages: 1}, "MAIL FROM:<a@example.com>\r\n", "451 4.7.1"},
		"recipients": {Quota{Recipients: 1}, "RCPT TO:<b@example.org>\r\n", "450 4.7.1"},
	} {
		t.Run(name, func(t *testing.T) {
			l := testServer(t, &Server{Handler: &testHandler{}, PerAddr: tc.quota, MaxNoops: 5})
			c := from(t, l, "192.0.2.1")
			c.hear("220 ")
			c.say(begun)
			c.hear("250 LIMITS", "250 2.1.0")
			if name == "messages" {
				c.say("RSET\r\n")
			} else {
				c.say("RCPT TO:<b@example.org>\r\n")
			}
			c.hear("250 ")
			left := 4 // EHLO was one
			if name == "messages" {
				left = 3 // and RSET
			}
			c.say(strings.Repeat(tc.line, left+1))
			for range left {
				c.hear(tc.code)
			}
			c.hear("421 4.7.0")
			c.hearEOF()
		})
	}
}

func TestStressShare(t *testing.T) {
	for most, first := range map[int64]int64{1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 5, 100: 80, 64 << 20: 53687092} {
		require.False(t, over(first-1, most), most)
		require.True(t, over(first, most), most)
	}
	require.False(t, over(10, 0))
}

// Memory that is nearly used up is stress too.
func TestStressByMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testServer(t, &Server{Handler: &testHandler{}, MemoryBudget: 350})
		greedy := from(t, l, "192.0.2.1")
		greedy.hear("220 ")
		greedy.say(begun + "RCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nRCPT TO:<d@example.org>\r\n")
		greedy.hear("250 LIMITS", "250 2.1.0", "250 2.1.5", "250 2.1.5", "250 2.1.5")
		c := from(t, l, "192.0.2.2")
		c.hear("220 ")
		began := time.Now()
		c.hear("421 4.4.2")
		require.Equal(t, 10*time.Second, time.Since(began).Round(time.Second))
	})
}
