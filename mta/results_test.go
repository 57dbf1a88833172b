package mta_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
	"github.com/posta-mail/posta/store"
)

// bothEnds makes a system whose mail for elsewhere goes to a recorder.
func bothEnds(t *testing.T, set func(*system)) (*system, *smtptest.Recorder) {
	t.Helper()
	rec := &smtptest.Recorder{}
	rec.Start()
	t.Cleanup(func() { require.NoError(t, rec.Close()) })
	zone := world(t)
	for _, d := range []string{"else.test", "more.test", "pass.test"} {
		r := zone[d]
		r.MX, r.A = []string{"10 mx." + d}, nil
		zone[d] = r
		zone["mx."+d] = mxRecord
	}
	s := newSystem(t, zone, func(s *system) {
		s.Remote.Transport.Client.DialContext = rec.Dial
		if set != nil {
			set(s)
		}
	})
	return s, rec
}

// One mailbox is full: the queue takes that recipient over, and nobody gets the
// message twice.
func TestOneOfSeveralIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := bothEnds(t, nil)
		s.st.full("carol@ours.test")
		require.NoError(t, s.receive(from, "alice@pass.test", letter, "bob@ours.test", "carol@ours.test"))
		first := s.one("bob@ours.test", store.Inbox)
		require.Equal(t, []string{"@local: carol@ours.test"}, s.queued())
		s.run()
		time.Sleep(3 * time.Hour)
		s.one("bob@ours.test", store.Inbox)
		require.Empty(t, s.mail("carol@ours.test", store.Inbox))
		s.st.full()
		time.Sleep(6 * time.Hour)
		s.one("bob@ours.test", store.Inbox)
		got := s.one("carol@ours.test", store.Inbox)
		require.Equal(t, strings.ReplaceAll(first, "bob@", "carol@"), got, "the same message, its trace fields once")
		require.Empty(t, s.queued())
		require.Empty(t, rec.Messages())
	})
}

// What has to wait stays junk.
func TestJunkSurvivesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := bothEnds(t, nil)
		s.st.full("carol@ours.test")
		require.NoError(t, s.receive("198.51.100.1", "a@else.test", letter, "bob@ours.test", "carol@ours.test"))
		s.one("bob@ours.test", "Junk")
		s.st.full()
		s.run()
		time.Sleep(time.Hour)
		s.one("carol@ours.test", "Junk")
		require.Empty(t, s.mail("carol@ours.test", store.Inbox))
	})
}

// An account goes between RCPT and DATA: the others have the message, and the
// sender learns about this one.
func TestOneOfSeveralIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := bothEnds(t, func(s *system) {
			s.Checks = []mta.Check{mta.CheckFunc(func(ctx context.Context, tr *mta.Transaction) mta.Verdict {
				if tr.Phase == mta.AtData {
					require.NoError(t, s.st.DeleteAccount(ctx, "carol@ours.test"))
				}
				return mta.Verdict{}
			})}
		})
		require.NoError(t, s.receive(from, "alice@pass.test", letter, "bob@ours.test", "carol@ours.test"))
		s.one("bob@ours.test", store.Inbox)
		s.run()
		synctest.Wait()
		list := rec.Messages()
		require.Len(t, list, 1)
		require.True(t, list[0].From.IsNull())
		require.Equal(t, "<alice@pass.test>", list[0].To[0].String())
		require.Contains(t, string(list[0].Data), "Final-Recipient: rfc822; carol@ours.test\r\nAction: failed\r\nStatus: 5.1.1\r\n")
		require.Empty(t, s.queued())
	})
}

// All are gone, or full: the client learns it and no bounce is made.
func TestAllFail(t *testing.T) {
	s, _ := bothEnds(t, nil)
	s.st.full("bob@ours.test", "carol@ours.test")
	refuses(t, s.receive(from, "alice@pass.test", letter, "bob@ours.test", "carol@ours.test"), 452, smtp.EnhancedCode{4, 2, 2})
	require.Empty(t, s.queued())
}

// What goes elsewhere is queued already: now the queue has those here, too.
func TestAllHereFailButNotElsewhere(t *testing.T) {
	s, _ := bothEnds(t, nil)
	s.st.full("bob@ours.test", "carol@ours.test")
	require.NoError(t, s.submit("bob@ours.test", submitted, "x@else.test", "carol@ours.test", "bob@ours.test"))
	require.Equal(t, []string{"else.test: x@else.test", "@local: carol@ours.test bob@ours.test"}, s.queued())
}

// A lasting failure for one and a passing one for the other: the client keeps
// the message, for what can still be delivered.
func TestTemporaryOutweighsPermanent(t *testing.T) {
	local := fakeLocal{results: map[string]error{
		"a@ours.test": smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "gone"),
		"b@ours.test": smtp.Errorf(452, smtp.EnhancedCode{4, 2, 2}, "full"),
	}}
	s, _ := bothEnds(t, func(s *system) { s.Local = local })
	refuses(t, s.receive(from, "", letter, "a@ours.test", "b@ours.test"), 452, smtp.EnhancedCode{4, 2, 2})
	refuses(t, s.receive(from, "", letter, "a@ours.test"), 550, smtp.EnhancedCode{5, 1, 1})
	require.Empty(t, s.queued())
}

// A Local that answers for fewer recipients than there are has not delivered to
// the rest; one that answers for more breaks nothing.
func TestLocalWithWrongNumberOfResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n, want := range map[int]int{0: 0, 1: 1, 2: 0, 5: 0} {
			s, _ := bothEnds(t, func(s *system) { s.Local = fakeLocal{count: &n} })
			err := s.receive(from, "", letter, "a@ours.test", "b@ours.test")
			if n == 0 {
				refuses(t, err, 451, smtp.EnhancedCode{4, 3, 0})
				continue
			}
			require.NoError(t, err)
			require.Len(t, s.queued(), want)
			s.run()
			synctest.Wait()
			require.Empty(t, s.queued(), "one recipient, one result")
		}
	})
}

func TestLocalWithoutResultsInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s, _ := bothEnds(t, func(s *system) { s.Local = fakeLocal{count: &n} })
		require.NoError(t, s.Submit(t.Context(), "", smtp.Path{}, []smtp.Path{path(t, "a@ours.test")}, nil, staged(t, s, letter)))
		s.run()
		time.Sleep(time.Hour)
		require.Equal(t, []string{"@local: a@ours.test"}, s.queued())
	})
}

// fakeLocal is a Local that accepts everybody and answers what it is told.
type fakeLocal struct {
	results map[string]error
	count   *int
}

func (fakeLocal) Check(context.Context, smtp.Path) error { return nil }

func (f fakeLocal) Deliver(_ context.Context, _ *mda.Delivery, to []smtp.Path) []error {
	if f.count != nil {
		return make([]error, *f.count)
	}
	list := make([]error, len(to))
	for i, p := range to {
		list[i] = f.results[p.Address()]
	}
	return list
}

// Without a queue a message is for all or for none.
func TestWithoutQueue(t *testing.T) {
	s := newSystem(t, world(t), func(s *system) { s.Spool = nil })
	s.st.full("carol@ours.test")
	refuses(t, s.receive(from, "alice@pass.test", letter, "bob@ours.test", "carol@ours.test"), 452, smtp.EnhancedCode{4, 2, 2})
	require.NoError(t, s.receive(from, "alice@pass.test", letter, "bob@ours.test"))
	refuses(t, s.submit("bob@ours.test", submitted, "x@else.test"), 550, smtp.EnhancedCode{5, 7, 1})
	require.ErrorIs(t, s.Run(t.Context()), mta.ErrNoSpool)
}

// The queue does not take over: nothing is acknowledged, and those who have the
// message get it again rather than that the others lose it.
func TestQueueFails(t *testing.T) {
	s, _ := bothEnds(t, nil)
	s.st.set(func(f *faultyStore) { f.onQueue = errors.New("broken") })
	s.st.full("carol@ours.test")
	refuses(t, s.receive(from, "alice@pass.test", letter, "bob@ours.test", "carol@ours.test"), 451, smtp.EnhancedCode{4, 3, 0})
	// What goes elsewhere is queued first: nobody here gets it when that fails.
	refuses(t, s.submit("bob@ours.test", submitted, "carol@ours.test", "x@else.test"), 451, smtp.EnhancedCode{4, 3, 0})
	require.Empty(t, s.mail("carol@ours.test", store.Inbox))
}

// An alias for two mailboxes and an address elsewhere: whatever fails for a
// while, everybody gets one copy.
func TestAliasOnceForEverybody(t *testing.T) {
	for _, c := range []struct {
		name string
		to   []string
		full []string
		err  bool
	}{
		{"one of two is full", []string{"list@ours.test"}, []string{"carol@ours.test"}, false},
		{"both are full", []string{"list@ours.test"}, []string{"bob@ours.test", "carol@ours.test"}, true},
		{"beside another recipient", []string{"list@ours.test", "bob@ours.test"}, []string{"carol@ours.test"}, false},
		{"nothing fails", []string{"list@ours.test", "other@ours.test"}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, rec := bothEnds(t, func(s *system) {
					s.local.Aliases = map[string][]string{
						"list@ours.test":  {"bob@ours.test", "carol@ours.test", "x@else.test", "y@else.test"},
						"other@ours.test": {"x@else.test"},
					}
				})
				s.run()
				s.st.full(c.full...)
				err := s.receive(from, "alice@pass.test", letter, c.to...)
				require.Equal(t, c.err, err != nil)
				time.Sleep(5 * time.Hour)
				if len(c.full) > 0 {
					require.Empty(t, rec.Messages(), "what goes elsewhere waits for the rest")
				}
				s.st.full()
				if c.err {
					require.NoError(t, s.receive(from, "alice@pass.test", letter, c.to...))
				}
				time.Sleep(6 * time.Hour)
				s.one("bob@ours.test", store.Inbox)
				s.one("carol@ours.test", store.Inbox)
				list := rec.Messages()
				require.Len(t, list, 1)
				require.Len(t, list[0].To, 2)
				require.Equal(t, "<alice@pass.test>", list[0].From.String())
				require.NotContains(t, string(list[0].Data), "Delivered-To")
				require.Equal(t, smtp.BodyType(""), list[0].Body)
				require.Empty(t, s.queued())
			})
		})
	}
}

// What an alias sends elsewhere asks for what it needs on the way.
func TestForwardedMessageKeepsItsNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := bothEnds(t, func(s *system) {
			s.local.Aliases = map[string][]string{"out@ours.test": {"x@else.test"}, "utf8@ours.test": {"jürgen@else.test"}}
		})
		s.run()
		require.NoError(t, s.receive(from, "alice@pass.test", letter+"\xff\r\n", "out@ours.test"))
		synctest.Wait()
		require.NoError(t, s.receive(from, "", letter, "utf8@ours.test"))
		synctest.Wait()
		list := rec.Messages()
		require.Len(t, list, 2)
		require.Equal(t, smtp.Body8BitMIME, list[0].Body)
		require.False(t, list[0].SMTPUTF8)
		require.True(t, list[1].SMTPUTF8)
		require.True(t, list[1].From.IsNull())
	})
}

// journal collects a Trace.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns what has happened, acceptance first: the queue may be faster
// than the session that filled it.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	slices.SortStableFunc(lines, func(a, b string) int {
		return boolean(strings.HasPrefix(b, "accepted")) - boolean(strings.HasPrefix(a, "accepted"))
	})
	return lines
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (j *journal) trace() *mta.Trace {
	event := func(what string) func(context.Context, mta.Event) {
		return func(_ context.Context, e mta.Event) {
			line := fmt.Sprintf("%s %v→%v", what, e.From, e.To)
			if e.Remote != "" {
				line += " at " + e.Remote
			}
			if e.Err != nil {
				line += fmt.Sprintf(" %d", e.Err.Code)
			}
			j.add("%s", line)
		}
	}
	return &mta.Trace{
		Accepted: func(_ context.Context, id string, env *smtp.Envelope) {
			who := env.Peer.Addr().String()
			if env.Identity != nil {
				who = env.Identity.Login
			}
			j.add("accepted %v→%v by %s", env.From, env.To, who)
		},
		Delivered: event("delivered"), Deferred: event("deferred"), Bounced: event("bounced"),
	}
}

func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s, rec := bothEnds(t, func(s *system) { s.Trace = j.trace(); s.Queue.Expire = time.Hour })
		rec.Rcpt = func(to smtp.Path) error {
			switch to.Local {
			case "nobody":
				return smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "No such user")
			case "later":
				return smtp.Errorf(451, smtp.EnhancedCode{4, 2, 1}, "Later")
			}
			return nil
		}
		s.run()
		s.st.full("carol@ours.test")
		require.NoError(t, s.receive(from, "", letter, "bob@ours.test", "carol@ours.test"))
		time.Sleep(time.Second)
		require.Equal(t, []string{
			"accepted <>→[<bob@ours.test> <carol@ours.test>] by 192.0.2.1", "delivered <>→<bob@ours.test>", "deferred <>→<carol@ours.test> 452",
			"deferred <>→<carol@ours.test> 452",
		}, j.take())
		s.st.full()
		time.Sleep(10 * time.Minute)
		require.Equal(t, []string{"delivered <>→<carol@ours.test>"}, j.take())

		require.NoError(t, s.submit("bob@ours.test", submitted, "x@else.test", "nobody@else.test"))
		time.Sleep(time.Second)
		require.Equal(t, []string{
			"accepted <bob@ours.test>→[<x@else.test> <nobody@else.test>] by bob",
			"delivered <bob@ours.test>→<x@else.test> at mx.else.test",
			"bounced <bob@ours.test>→<nobody@else.test> at mx.else.test 550",
			"delivered <>→<bob@ours.test>",
		}, j.take())

		// Tried at once, after 5, 30 and 60 minutes.
		require.NoError(t, s.submit("bob@ours.test", submitted, "later@else.test"))
		time.Sleep(2 * time.Hour)
		deferred := "deferred <bob@ours.test>→<later@else.test> at mx.else.test 451"
		require.Equal(t, []string{
			"accepted <bob@ours.test>→[<later@else.test>] by bob", deferred, deferred, deferred,
			"bounced <bob@ours.test>→<later@else.test> at mx.else.test 451", "delivered <>→<bob@ours.test>",
		}, j.take())
	})
}
