package imap_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
)

// gatedStore files what it is given only when it is told to, in order; bodies
// that are staged and not discarded are counted.
type gatedStore struct {
	store.Store
	turn chan struct{} // one for each PlaceLater

	mu      sync.Mutex
	waiting int // placed later, and not told to go on
	bodies  int
}

func (s *gatedStore) PlaceLater(ctx context.Context, targets []store.Target) func() []store.Placed {
	s.mu.Lock()
	s.waiting++
	s.mu.Unlock()
	return func() []store.Placed {
		<-s.turn
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
		return s.Store.Place(ctx, targets)
	}
}

func (s *gatedStore) counts() (waiting, bodies int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting, s.bodies
}

type countedBody struct {
	store.Staged
	s    *gatedStore
	once sync.Once
}

func (b *countedBody) Discard() error {
	b.once.Do(func() {
		b.s.mu.Lock()
		b.s.bodies--
		b.s.mu.Unlock()
	})
	return b.Staged.Discard()
}

// gatedWorld is a world whose store is gated.
func gatedWorld(t *testing.T, change func(*imap.Server)) (*world, *gatedStore) {
	var gated *gatedStore
	w := newWorld(t, func(s *imap.Server) {
		gated = &gatedStore{Store: s.Store, turn: make(chan struct{}, 1000)}
		s.Store = staging{gated}
		if change != nil {
			change(s)
		}
	})
	return w, gated
}

// staging counts bodies.
type staging struct{ *gatedStore }

func (s staging) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	st, err := s.Store.Stage(ctx, r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.bodies++
	s.mu.Unlock()
	return &countedBody{Staged: st, s: s.gatedStore}, nil
}

// TestAppendsAreRepliedToWithoutInput: replies come when the commit is done, one
// by one, while the session waits for input or is in the middle of a literal.
func TestAppendsAreRepliedToWithoutInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, gated := gatedWorld(t, nil)
		w.fill("anna", store.Inbox, 2)
		c := w.login("anna")
		c.ok("SELECT INBOX")
		c.send("a APPEND INBOX {1+}\r\n1\r\nb APPEND INBOX {1+}\r\n2\r\nc APPEND INBOX {10+}\r\nhalf")
		synctest.Wait()
		n, _ := gated.counts()
		assert.Equal(t, 2, n, "both are staged before the first is filed")
		gated.turn <- struct{}{}
		assert.Equal(t, "* 3 EXISTS", c.line())
		assert.Contains(t, c.line(), "a OK [APPENDUID")
		gated.turn <- struct{}{}
		assert.Equal(t, "* 4 EXISTS", c.line())
		assert.Contains(t, c.line(), "b OK [APPENDUID")
		gated.turn <- struct{}{}
		c.send("other.\r\nd NOOP\r\n")
		assert.Equal(t, "* 5 EXISTS", c.line())
		assert.Contains(t, c.line(), "c OK [APPENDUID")
		assert.Equal(t, "d OK NOOP completed", c.line())
		// A literal is asked for when all before has been answered.
		c.send("e APPEND INBOX {1+}\r\n1\r\nf APPEND INBOX {1}\r\n")
		synctest.Wait()
		gated.turn <- struct{}{}
		assert.Equal(t, "* 6 EXISTS", c.line())
		assert.Contains(t, c.line(), "e OK [APPENDUID")
		assert.Equal(t, "+ Ready for message", c.line())
		gated.turn <- struct{}{}
		c.send("2\r\n")
		assert.Equal(t, "* 7 EXISTS", c.line())
		assert.Contains(t, c.line(), "f OK [APPENDUID")
		_, bodies := gated.counts()
		assert.Zero(t, bodies)
		assert.Zero(t, w.srv.BudgetUsed())
		_ = c.Close()
	})
}

// TestPipelineIsBounded: no more than MaxPipelined, 4 MiB, or what the budget
// has, wait at a time; all are filed in the end.
func TestPipelineIsBounded(t *testing.T) {
	for name, k := range map[string]struct {
		pipelined int
		budget    int64
		size      int
		most      int
	}{
		"number": {3, 0, 10, 3},
		"none":   {-1, 0, 10, 1},
		"octets": {0, 0, 250 << 10, 16},
		"large":  {0, 0, 300 << 10, 1},
		"budget": {0, 20 << 10, 4 << 10, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, gated := gatedWorld(t, func(s *imap.Server) {
					s.MaxPipelined, s.MemoryBudget = k.pipelined, k.budget
				})
				c := w.login("anna")
				body := strings.Repeat("x", k.size)
				go func() {
					for i := range 40 {
						_, _ = fmt.Fprintf(c, "t%d APPEND INBOX {%d+}\r\n%s\r\n", i, len(body), body)
					}
				}()
				synctest.Wait()
				n, _ := gated.counts()
				assert.Equal(t, k.most, n)
				for range 40 {
					gated.turn <- struct{}{}
				}
				for i := range 40 {
					assert.Regexp(t, fmt.Sprintf(`^t%d OK \[APPENDUID \d+ %d\]`, i, i+1), c.line())
				}
				c.ok("NOOP") // what was waiting is over
				_, bodies := gated.counts()
				assert.Zero(t, bodies)
				assert.Zero(t, w.srv.BudgetUsed())
				_ = c.Close()
			})
		})
	}
}

// TestConnectionLostWithAppendsWaiting: what has been read is filed, and nothing
// stays behind, wherever the connection breaks off.
func TestConnectionLostWithAppendsWaiting(t *testing.T) {
	for _, end := range []string{"", "c APPEND INBOX {10+}\r\nhalf", "c APPEND INBOX (", "c APPEND INBOX {1+}\r\n3 {1+}\r\n", "c APPEND INBOX CATENATE (TEXT {1+}\r\n3 URL /INBOX/;UID=1"} {
		synctest.Test(t, func(t *testing.T) {
			w, gated := gatedWorld(t, nil)
			c := w.login("anna")
			c.send("a APPEND INBOX {1+}\r\n1\r\nb APPEND INBOX {1+}\r\n2\r\n" + end)
			_ = c.Close()
			synctest.Wait()
			gated.turn <- struct{}{}
			gated.turn <- struct{}{}
			synctest.Wait()
			_, bodies := gated.counts()
			assert.Zero(t, bodies, end)
			assert.Zero(t, w.srv.BudgetUsed(), end)
			acc, err := w.st.Account(t.Context(), "anna", "anna")
			require.NoError(t, err)
			mb, err := acc.Mailbox(t.Context(), store.Inbox)
			require.NoError(t, err)
			info, err := mb.Info(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 2, info.Messages, end)
		})
	}
}

// TestShutdownWithAppendsWaiting: they are answered before BYE.
func TestShutdownWithAppendsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, gated := gatedWorld(t, nil)
		c := w.login("anna")
		c.send("a APPEND INBOX {1+}\r\n1\r\n")
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- w.srv.Shutdown(t.Context()) }()
		synctest.Wait()
		time.Sleep(time.Second)
		gated.turn <- struct{}{}
		assert.Contains(t, c.line(), "a OK [APPENDUID")
		assert.Equal(t, "* BYE [UNAVAILABLE] Shutting down", c.line())
		require.NoError(t, <-down)
		_ = c.Close()
	})
}

// failingStore takes so many octets of a message and then has no room.
type failingStore struct {
	store.Store
	after int64
}

func (s failingStore) Stage(_ context.Context, r io.Reader) (store.Staged, error) {
	if _, err := io.CopyN(io.Discard, r, s.after); err != nil && err != io.EOF {
		return nil, fmt.Errorf("staging: %w", err)
	}
	return nil, store.ErrNoSpace
}

// TestStoreFailsWithinMessage: the rest of the message, and of the command, is
// read and thrown away.
func TestStoreFailsWithinMessage(t *testing.T) {
	for _, after := range []int64{0, 1, 10, 5000, 1 << 20} {
		w := newWorld(t, func(s *imap.Server) { s.Store = failingStore{s.Store, after} })
		c := w.login("anna")
		body := strings.Repeat("x CREATE bad\r\n", 1000)
		for _, data := range []string{
			fmt.Sprintf("{%d+}\r\n%s", len(body), body),
			fmt.Sprintf("{%d+}\r\n%s {%d+}\r\n%s", len(body), body, len(body), body),
			fmt.Sprintf("CATENATE (TEXT {%d+}\r\n%s TEXT {%d+}\r\n%s)", len(body), body, len(body), body),
		} {
			lines, end := c.do("APPEND INBOX " + data)
			assert.Empty(t, lines)
			assert.Equal(t, "NO [OVERQUOTA] No space left", end)
		}
		assert.Len(t, c.ok(`LIST "" "*"`), 1)
	}
}

// lazyStore leaves the last octets of a message to whoever reads on.
type lazyStore struct{ store.Store }

func (s lazyStore) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	return s.Store.Stage(ctx, io.LimitReader(r, 5))
}

// TestStoreReadsLess: a store that stops early does not get the session out of
// step.
func TestStoreReadsLess(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.Store = lazyStore{s.Store} })
	c := w.login("anna")
	for range 3 {
		c.ok("APPEND INBOX {20+}\r\n0123456789012345\r\n\r\n CATENATE (TEXT {20+}\r\n0123456789012345\r\n\r\n)")
	}
	c.ok("NOOP")
}

// TestURLExpires: an authorized URL is worth nothing when its time is over.
func TestURLExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.fill("anna", store.Inbox, 1)
		c := w.login("anna")
		rump := "imap://anna@mail.test/INBOX/;UID=1/;PARTIAL=0.4;EXPIRE=" + time.Now().Add(10*time.Minute).UTC().Format(time.RFC3339) + ";URLAUTH=authuser"
		url := strings.TrimPrefix(c.ok("GENURLAUTH " + rump + " INTERNAL")[0], "* GENURLAUTH ")
		assert.Equal(t, []string{"* URLFETCH " + url + " {4}\r\nFrom"}, c.ok("URLFETCH "+url))
		later := strings.Replace(url, "EXPIRE=2", "EXPIRE=3", 1)
		assert.Equal(t, []string{"* URLFETCH " + later + " NIL"}, c.ok("URLFETCH "+later))
		time.Sleep(10 * time.Minute)
		assert.Equal(t, []string{"* URLFETCH " + url + " NIL"}, c.ok("URLFETCH "+url))
		_, end := c.do("GENURLAUTH " + rump + " INTERNAL")
		assert.Equal(t, "NO [EXPIRED] URL has expired", end)
		_ = c.Close()
	})
}
