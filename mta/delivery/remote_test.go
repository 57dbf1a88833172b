package delivery_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/mta/delivery"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

const letter = "Subject: hello\r\n\r\n.dot\r\n"

// internet routes all mail to its hosts, in their order, and connects to what
// stands at their addresses.
type internet struct {
	*delivery.Remote
	hosts []route.Host
	at    map[string]func(ctx context.Context, network, addr string) (net.Conn, error)
	mu    sync.Mutex
	calls []string
}

func (n *internet) Route(context.Context, string) (*route.Route, error) {
	return &route.Route{Domain: "b.test", Hosts: n.hosts}, nil
}

// newInternet has hosts a.mx.test with two addresses and b.mx.test with one,
// 192.0.2.1 to 3. Where nobody stands nobody answers.
func newInternet() *internet {
	n := &internet{at: map[string]func(context.Context, string, string) (net.Conn, error){}}
	ip := netip.MustParseAddr
	n.hosts = []route.Host{
		{Name: "a.mx.test", Port: 25, Addrs: []netip.Addr{ip("192.0.2.1"), ip("192.0.2.2")}},
		{Name: "b.mx.test", Port: 25, Addrs: []netip.Addr{ip("192.0.2.3")}},
	}
	n.Remote = &delivery.Remote{Router: n}
	n.Transport.Client = smtp.ClientConfig{Hostname: "mx.a.test", DialContext: n.dial}
	n.Transport.MaxIdle = -1
	return n
}

func (n *internet) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.calls = append(n.calls, strings.TrimPrefix(strings.TrimSuffix(addr, ":25"), "192.0.2."))
	at := n.at[addr]
	n.mu.Unlock()
	if at == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return at(ctx, network, addr)
}

// peer puts a scripted server at an address.
func (n *internet) peer(t *testing.T, last string, scripts ...string) *smtptest.Peer {
	t.Helper()
	p, err := smtptest.NewPeer(scripts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	n.at["192.0.2."+last+":25"] = p.Dial
	return p
}

// recorder puts a real server at an address.
func (n *internet) recorder(t *testing.T, last string, set func(*smtptest.Recorder)) *smtptest.Recorder {
	t.Helper()
	rec := &smtptest.Recorder{}
	if set != nil {
		set(rec)
	}
	rec.Start()
	t.Cleanup(func() { require.NoError(t, rec.Close()) })
	n.at["192.0.2."+last+":25"] = rec.Dial
	return rec
}

// deliver makes one attempt for local parts at b.test.
func (n *internet) deliver(ctx context.Context, to ...string) []queue.Result {
	m := &queue.Message{ID: "m1", From: smtp.Path{Local: "alice", Domain: "a.test"}, Site: "b.test"}
	for _, local := range to {
		m.Recipients = append(m.Recipients, queue.Recipient{To: smtp.Path{Local: local, Domain: "b.test"}})
	}
	return n.Deliver(ctx, m, body{strings.NewReader(letter)})
}

type body struct{ *strings.Reader }

func (body) Close() error { return nil }

// says is the result as text: "250", "!" for down, code, enhanced code, host.
func says(r queue.Result) string {
	text := "250"
	if r.Err != nil {
		e := smtp.AsError(r.Err)
		text = smtp.Reply{Code: e.Code, Enhanced: e.Enhanced}.String()
	}
	if r.Remote != "" {
		text += " " + r.Remote
	}
	if r.Down {
		text += "!"
	}
	return strings.Join(strings.Fields(text), " ")
}

func allSay(results []queue.Result) []string {
	var list []string
	for _, r := range results {
		list = append(list, says(r))
	}
	return list
}

// Scripts of servers.
const (
	greet  = "S: 220 hi\nC: EHLO mx.a.test\nS: 250 me\n"
	mail   = "C: MAIL FROM:<alice@a.test>\nS: 250 ok\n"
	rcpt   = "C: RCPT TO:.*\nS: 250 ok\n"
	data   = "C: DATA\nS: 354 go\nDATA\n"
	ending = "S: 250 done\nC: QUIT\nS: 221 bye"
	good   = greet + mail + rcpt + data + ending
)

// What one host says, and what comes of it: at the next address, or for good.
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  string // what stands at the first address; empty: nobody
		second string // at the second address; "-": nobody
		third  string
		want   string
		calls  []string
	}{
		{"accepted", good, good, "-", "250 a.mx.test", []string{"1"}},
		{"nobody there", "-", good, good, "250 a.mx.test", []string{"1", "2"}},
		{"next host", "-", "-", good, "250 b.mx.test", []string{"1", "2", "3"}},
		{"all down", "-", "-", "-", "451 4.4.1 b.mx.test!", []string{"1", "2", "3"}},
		{"closed before the greeting", "CLOSE", "-", "-", "451 4.4.1 b.mx.test!", []string{"1", "2", "3"}},
		{"421 instead of the greeting", "S: 421 4.3.2 busy", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"554 instead of the greeting", "S: 554 no\nC: QUIT", "-", good, "250 b.mx.test", []string{"1", "2", "3"}},
		{"554 of all hosts", "S: 554 5.7.1 no", "S: 554 5.7.1 no", "S: 554 5.7.1 no", "554 5.7.1 b.mx.test", []string{"1", "2", "3"}},
		{"a passing failure outweighs", "S: 421 4.3.2 busy", "S: 554 no", "S: 554 no", "421 4.3.2 a.mx.test", []string{"1", "2", "3"}},
		{"closed at EHLO", "S: 220 hi\nC: EHLO .*", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"4yz at MAIL", greet + "C: MAIL .*\nS: 451 4.3.0 later\nC: QUIT\nS: 221 bye", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"4yz at MAIL of all", greet + "C: MAIL .*\nS: 451 4.7.1 later\nC: QUIT", greet + "C: MAIL .*\nS: 451 4.7.1 later\nC: QUIT", greet + "C: MAIL .*\nS: 451 4.7.1 later\nC: QUIT", "451 4.7.1 b.mx.test", []string{"1", "2", "3"}},
		{"5yz at MAIL", greet + "C: MAIL .*\nS: 550 5.7.1 go away\nC: QUIT\nS: 221 bye", good, "-", "550 5.7.1 a.mx.test", []string{"1"}},
		{"421 at MAIL", greet + "C: MAIL .*\nS: 421 4.3.2 closing", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"4yz at RCPT", greet + mail + "C: RCPT .*\nS: 450 4.2.0 greylisted\nC: QUIT", good, "-", "450 4.2.0 a.mx.test", []string{"1"}},
		{"5yz at RCPT", greet + mail + "C: RCPT .*\nS: 550 5.1.1 nobody\nC: QUIT", good, "-", "550 5.1.1 a.mx.test", []string{"1"}},
		{"552 at RCPT is 452", greet + mail + "C: RCPT .*\nS: 552 too many\nC: QUIT", good, "-", "452 4.5.3 a.mx.test", []string{"1"}},
		{"421 at RCPT", greet + mail + "C: RCPT .*\nS: 421 4.3.2 closing", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"closed at RCPT", greet + mail + "C: RCPT .*", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"421 at DATA", greet + mail + rcpt + "C: DATA\nS: 421 4.3.2 closing", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"closed at DATA", greet + mail + rcpt + "C: DATA", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"4yz at DATA", greet + mail + rcpt + "C: DATA\nS: 451 4.3.0 later\nC: QUIT", good, "-", "451 4.3.0 a.mx.test", []string{"1"}},
		{"5yz at DATA", greet + mail + rcpt + "C: DATA\nS: 554 5.7.1 no\nC: QUIT", good, "-", "554 5.7.1 a.mx.test", []string{"1"}},
		{"4yz to the message", greet + mail + rcpt + data + "S: 451 4.3.0 disk\nC: QUIT", good, "-", "451 4.3.0 a.mx.test", []string{"1"}},
		{"5yz to the message", greet + mail + rcpt + data + "S: 554 5.7.1 spam\nC: QUIT", good, "-", "554 5.7.1 a.mx.test", []string{"1"}},
		{"421 to the message", greet + mail + rcpt + data + "S: 421 4.3.2 closing", good, "-", "421 4.3.2 a.mx.test", []string{"1"}},
		{"closed after the final dot", greet + mail + rcpt + data, good, "-", "451 4.4.2 a.mx.test", []string{"1"}},
		{"nonsense after the final dot", greet + mail + rcpt + data + "S: what?", good, "-", "451 4.4.2 a.mx.test", []string{"1"}},
		{"closed before the final dot", greet + mail + rcpt + "C: DATA\nS: 354 go", good, "-", "451 4.4.2 a.mx.test", []string{"1"}},
		{"extra replies", greet + "C: MAIL .*\nS: 250 ok\nS: 250 ok\nC: RCPT .*\nS: 250 ok", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"endless reply", "S: 220 hi\nC: EHLO .*\nS* 1000 250-x", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"endless line", "S: 220 hi\nC: EHLO .*\nS- \"250 " + strings.Repeat("x", 1<<20) + "\\r\\n\"", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"nonsense", "S: SSH-2.0-OpenSSH", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"silence", "STALL", good, "-", "250 a.mx.test", []string{"1", "2"}},
		{"HELO only", "S: 220 hi\nC: EHLO .*\nS: 502 what\nC: HELO mx.a.test\nS: 250 me\n" + mail + rcpt + data + ending, "-", "-", "250 a.mx.test", []string{"1"}},
		{"too big for it", "S: 220 hi\nC: EHLO .*\nS: 250-me\nS: 250 SIZE 10\nC: QUIT\nS: 221 bye", good, "-", "552 5.3.4", []string{"1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newInternet()
				var peers []*smtptest.Peer
				for i, script := range []string{c.first, c.second, c.third} {
					if script != "-" {
						peers = append(peers, n.peer(t, string(rune('1'+i)), script))
					}
				}
				require.Equal(t, []string{c.want}, allSay(n.deliver(t.Context(), "bob")))
				require.Equal(t, c.calls, n.calls)
				messages := 0
				for _, p := range peers {
					synctest.Wait()
					for _, d := range p.Data() {
						messages++
						require.Equal(t, "Subject: hello\r\n\r\n..dot\r\n.\r\n", d)
					}
				}
				require.LessOrEqual(t, messages, 1, "never two hosts for one message")
			})
		})
	}
}

// Texts that a bounce shows.
func TestTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet()
		n.hosts = n.hosts[1:]
		text := func() string {
			var e *smtp.Error
			require.ErrorAs(t, n.deliver(t.Context(), "bob")[0].Err, &e)
			return e.Text
		}
		require.Equal(t, "Connection failed: dial tcp: connection refused", text())
		n.at["192.0.2.3:25"] = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		start := time.Now()
		require.Equal(t, "Connection failed: context deadline exceeded", text())
		require.Equal(t, 30*time.Second, time.Since(start))
		n.peer(t, "3", greet+mail+rcpt+"C: DATA")
		require.Equal(t, "Connection lost at DATA: unexpected EOF", text())
		n.peer(t, "3", greet+mail+"C: RCPT .*\nS: 550-5.1.1 No such user\nS- \"550 5.1.1 "+strings.Repeat("\u00e4", 1500)+"\\r\\n\"")
		got := text()
		require.True(t, strings.HasPrefix(got, "No such user\n\u00e4\u00e4"), got)
		require.True(t, strings.HasSuffix(got, "\u00e4…"))
		require.LessOrEqual(t, len(got), 1003)
		n = newInternet()
		n.Transport.Client.Hostname = "not a name"
		n.hosts = n.hosts[1:]
		n.peer(t, "3", good)
		require.Equal(t, "451 4.3.5", says(n.deliver(t.Context(), "bob")[0]), "our own mistake is no reason to return mail")
	})
}

// Every recipient has an answer of its own.
func TestPerRecipient(t *testing.T) {
	n := newInternet()
	rec := n.recorder(t, "1", func(r *smtptest.Recorder) {
		r.Rcpt = func(to smtp.Path) error {
			switch to.Local {
			case "nobody":
				return smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "no")
			case "later":
				return smtp.Errorf(450, smtp.EnhancedCode{4, 2, 0}, "later")
			}
			return nil
		}
	})
	require.Equal(t, []string{"250 a.mx.test", "550 5.1.1 a.mx.test", "450 4.2.0 a.mx.test", "250 a.mx.test"},
		allSay(n.deliver(t.Context(), "bob", "nobody", "later", "carol")))
	require.Len(t, rec.Messages(), 1)
	require.Len(t, rec.Messages()[0].To, 2)
	require.Equal(t, letter, string(rec.Messages()[0].Data))
	require.Equal(t, []string{"550 5.1.1 a.mx.test", "450 4.2.0 a.mx.test"}, allSay(n.deliver(t.Context(), "nobody", "later")))
	require.Equal(t, []string{"1", "1"}, n.calls)
	require.Empty(t, n.deliver(t.Context()))
}

// A host that goes away in the middle has answered for some: the next gets the
// others only.
func TestAnswersBeforeALossCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet()
		n.peer(t, "1", greet+mail+"C: RCPT TO:<nobody@b.test>\nS: 550 5.1.1 no\n"+rcpt+"C: RCPT TO:<later@b.test>\nS: 450 4.2.0 later\nC: RCPT TO:<last@b.test>\nS: 421 4.3.2 closing")
		p := n.peer(t, "2", greet+mail+"C: RCPT TO:<bob@b.test>\nS: 250 ok\nC: RCPT TO:<last@b.test>\nS: 250 ok\n"+data+ending)
		require.Equal(t, []string{"550 5.1.1 a.mx.test", "250 a.mx.test", "450 4.2.0 a.mx.test", "250 a.mx.test"},
			allSay(n.deliver(t.Context(), "nobody", "bob", "later", "last")))
		synctest.Wait()
		require.NoError(t, p.Err())
		// And if there is no next, they keep their answers.
		n.at["192.0.2.2:25"] = nil
		require.Equal(t, []string{"550 5.1.1 a.mx.test", "451 4.4.1 b.mx.test", "450 4.2.0 a.mx.test", "451 4.4.1 b.mx.test"},
			allSay(n.deliver(t.Context(), "nobody", "bob", "later", "last")))
	})
}

// The end of ctx ends an attempt soon, wherever it is.
func TestCancelled(t *testing.T) {
	for name, script := range map[string]string{
		"greeting": "STALL", "MAIL": greet + "C: MAIL .*\nSTALL", "message": greet + mail + rcpt + rcpt + data + "STALL", "TLS": starttls + "S: 220 go\nSTALL",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newInternet()
				n.peer(t, "1", script)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				start := time.Now()
				res := n.deliver(ctx, "bob", "carol")
				require.Equal(t, time.Second, time.Since(start))
				require.Equal(t, []string{"1"}, n.calls, "nobody else is tried")
				for _, r := range res {
					require.ErrorIs(t, r.Err, context.Canceled)
					require.False(t, r.Down)
				}
			})
		})
	}
	n := newInternet()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, n.deliver(ctx, "bob")[0].Err, context.Canceled)
}

// badRouter fails.
type badRouter struct{ err error }

func (b badRouter) Route(context.Context, string) (*route.Route, error) { return &route.Route{}, b.err }

func TestRouting(t *testing.T) {
	n := newInternet()
	n.Router = badRouter{smtp.Errorf(556, smtp.EnhancedCode{5, 1, 10}, "null MX")}
	require.Equal(t, []string{"556 5.1.10", "556 5.1.10"}, allSay(n.deliver(t.Context(), "bob", "carol")))
	n.Router = badRouter{}
	require.Equal(t, []string{"451 4.3.5"}, allSay(n.deliver(t.Context(), "bob")))
	n.Router = nil
	require.Equal(t, []string{"451 4.3.5"}, allSay(n.deliver(t.Context(), "bob")))
}

// What was asked for on the way in is asked for on the way on.
func TestOptions(t *testing.T) {
	n := newInternet()
	rec := n.recorder(t, "1", nil)
	m := &queue.Message{Options: smtp.MailOptions{Size: 5, Body: smtp.Body8BitMIME, SMTPUTF8: true}, Recipients: []queue.Recipient{{To: smtp.Path{Local: "j\u00fcrgen", Domain: "b.test"}}}}
	require.Equal(t, []string{"250 a.mx.test"}, allSay(n.Deliver(t.Context(), m, body{strings.NewReader(letter)})))
	got := rec.Messages()[0]
	require.True(t, got.From.IsNull())
	require.Equal(t, smtp.MailOptions{Size: int64(len(letter)), Body: smtp.Body8BitMIME, SMTPUTF8: true}, got.MailOptions)
	require.Equal(t, "mx.a.test", got.Peer.HELO)

	// A server that cannot take it: the message goes back.
	n.peer(t, "1", greet+"C: QUIT")
	res := n.Deliver(t.Context(), m, body{strings.NewReader(letter)})
	require.Equal(t, []string{"553 5.6.7"}, allSay(res))
	require.True(t, slices.Contains(n.calls, "1") && !slices.Contains(n.calls, "2"))
}

// Messages to one host under one policy share a connection; a policy that asks
// for more gets one of its own.
func TestReuse(t *testing.T) {
	server, client := tlsFor(t, "a.mx.test")
	var policy smtp.TLSPolicy
	run := func(t *testing.T, tls bool, f func(n *internet, rec *smtptest.Recorder)) {
		n := newInternet()
		n.Transport.MaxIdle = 0
		n.Secure = func(context.Context, string, route.Host) (smtp.TLSPolicy, error) { return policy, nil }
		rec := n.recorder(t, "1", func(r *smtptest.Recorder) {
			if tls {
				r.Server.TLSConfig = server
			}
		})
		defer n.Transport.Close()
		f(n, rec)
	}
	deliver := func(n *internet) {
		t.Helper()
		require.Equal(t, []string{"250 a.mx.test"}, allSay(n.deliver(t.Context(), "bob")))
	}
	run(t, true, func(n *internet, rec *smtptest.Recorder) {
		deliver(n)
		deliver(n)
		require.Equal(t, 1, rec.Sessions())
		policy = smtp.TLSPolicy{Mode: smtp.TLSVerified, Config: client}
		deliver(n)
		deliver(n)
		require.Equal(t, 2, rec.Sessions())
		policy = smtp.TLSPolicy{}
		deliver(n)
		require.Equal(t, 2, rec.Sessions())
		require.Len(t, rec.Messages(), 5)
	})
	// Plain text after a failed handshake is kept as well, for those who may have it.
	n := newInternet()
	n.Transport.MaxIdle = 0
	once := mail + rcpt + data + "S: 250 done\n"
	p := n.peer(t, "1", starttls+"S: 454 4.7.0 not now\nC: QUIT", greet+once+once+"C: QUIT")
	deliver(n)
	deliver(n)
	require.Equal(t, 2, p.Conns())
	// A host that has gone meanwhile is tried anew before the next is.
	p = n.peer(t, "1", greet+once+"S: 421 4.4.2 idle", greet+once+"C: QUIT")
	n.Transport.CloseIdle()
	deliver(n)
	deliver(n)
	require.Equal(t, 2, p.Conns())
	n.Transport.CloseIdle()
}

// More recipients than a host takes at once come in several transactions, each
// with an answer of its own.
func TestLimits(t *testing.T) {
	offer := "S: 220 hi\nC: EHLO mx.a.test\nS: 250-me\nS: 250 LIMITS RCPTMAX=2\n"
	to := func(name, reply string) string { return "C: RCPT TO:<" + name + "@b.test>\nS: " + reply + "\n" }
	first := offer + mail + to("a", "250 ok") + to("b", "550 5.1.1 no") + data + "S: 250 done\n"
	for _, c := range []struct {
		name, at, next string
		want           []string
	}{
		{"one connection", first + mail + to("c", "550 5.1.1 no") + to("d", "450 4.2.1 later") + "C: RSET\nS: 250 ok\n" + mail + to("e", "250 ok") + data + "S: 250 done\nC: QUIT", "",
			[]string{"250 a.mx.test", "550 5.1.1 a.mx.test", "550 5.1.1 a.mx.test", "450 4.2.1 a.mx.test", "250 a.mx.test"}},
		{"lost", first + mail + to("c", "250 ok") + to("d", "421 4.3.2 closing"), greet + mail + to("c", "250 ok") + to("d", "250 ok") + to("e", "250 ok") + data + "S: 250 done\nC: QUIT",
			[]string{"250 a.mx.test", "550 5.1.1 a.mx.test", "250 a.mx.test", "250 a.mx.test", "250 a.mx.test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newInternet()
				n.Transport.MaxIdle = 0
				p := n.peer(t, "1", c.at)
				if c.next != "" {
					n.peer(t, "2", c.next)
				}
				require.Equal(t, c.want, allSay(n.deliver(t.Context(), "a", "b", "c", "d", "e")))
				n.Transport.CloseIdle()
				synctest.Wait()
				require.NoError(t, p.Err())
				require.Equal(t, 1, p.Conns())
			})
		})
	}
}

// BenchmarkReuse sends to one site over TCP on loopback, with and without connections
// that are kept, in plain text and under TLS.
func BenchmarkReuse(b *testing.B) {
	for name, c := range map[string]struct{ tls, keep bool }{
		"plain/kept": {false, true}, "plain/new": {false, false}, "TLS/kept": {true, true}, "TLS/new": {true, false},
	} {
		b.Run(name, func(b *testing.B) {
			rec := &smtptest.Recorder{Data: func(*smtptest.Message) error { return nil }}
			rec.Server.ConnRate, rec.Server.MaxConnsPerAddr = -1, -1
			if c.tls {
				rec.Server.TLSConfig, _ = tlsFor(b, "a.mx.test")
			}
			addr, err := rec.StartTCP()
			require.NoError(b, err)
			defer rec.Close()
			n := newInternet()
			n.Transport.Client.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			}
			if c.keep {
				n.Transport.MaxIdle, n.Transport.MaxMessages = 0, -1
			}
			defer n.Transport.Close()
			for b.Loop() {
				if res := n.deliver(b.Context(), "bob"); res[0].Err != nil {
					b.Fatal(res[0].Err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
