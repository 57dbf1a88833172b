package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func observation(domain string, ip byte) Observation {
	return Observation{
		Published: dmarc.Published{Domain: domain, Method: "treewalk", Policy: dmarc.Reject},
		URIs:      []string{"mailto:d@" + domain},
		Row: dmarc.Row{Source: netip.AddrFrom4([4]byte{192, 0, 2, ip}), Disposition: "none", HeaderFrom: domain,
			Senders: []dmarc.SenderResult{{Domain: domain, Scope: "mfrom", Result: "fail"}}},
	}
}

type verifier struct{ errs []error }

func (v *verifier) Destinations(_ context.Context, _ string, uris []string) ([]dmarc.Destination, []error) {
	var all []dmarc.Destination
	for _, u := range uris {
		all = append(all, dmarc.Destination{URI: u, Address: strings.TrimPrefix(u, "mailto:")})
	}
	return all, v.errs
}

type outbox struct {
	mu   sync.Mutex
	mail []*Mail
	err  error
}

func (o *outbox) Submit(_ context.Context, m *Mail) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	o.mail = append(o.mail, m)
	return nil
}

func (o *outbox) all() []*Mail {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mail
}

func newSender(store Store, out *outbox) *Sender {
	return &Sender{Store: store, Submitter: out, Verifier: new(verifier), Domain: "r.test", Address: "dmarc@reports.r.test",
		Allow: func(string) bool { return true }}
}

func TestMemoryCountsAndLimits(t *testing.T) {
	m := &Memory{MaxWindows: 2, MaxRows: 2}
	day := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	add := func(domain string, ip byte) error { o := observation(domain, ip); return m.Add(day, &o) }
	for range 3 {
		require.NoError(t, add("a.test", 1))
	}
	require.NoError(t, add("a.test", 2))
	assert.ErrorIs(t, add("a.test", 3), ErrFull)
	require.NoError(t, add("b.test", 1))
	assert.ErrorIs(t, add("c.test", 1), ErrFull)
	long := observation("b.test", 2)
	long.Row.EnvelopeFrom = strings.Repeat("x", maxRow)
	assert.ErrorIs(t, m.Add(day, &long), ErrFull)
	all, err := m.Windows(day)
	require.NoError(t, err)
	assert.Empty(t, all, "the day has not ended")
	all, err = m.Windows(day.Add(24 * time.Hour))
	require.NoError(t, err)
	require.Len(t, all, 2)
	assert.Equal(t, []int64{3, 1}, []int64{all[0].Rows[0].Count, all[0].Rows[1].Count})
	assert.Equal(t, []int64{1, 1}, []int64{all[0].Lost, all[1].Lost})
	for i := range all {
		require.NoError(t, m.Done(&all[i]))
	}
	assert.Zero(t, m.bytes)
	small := &Memory{MaxBytes: 100_000}
	for i := range 100_000 {
		o := observation(fmt.Sprint("d", i, ".test"), 1)
		_ = small.Add(day, &o)
	}
	assert.LessOrEqual(t, small.bytes, int64(100_000))
	assert.NotEmpty(t, small.windows)
}

func TestRowKeyTellsApart(t *testing.T) {
	seen := map[string]int{}
	for i, r := range []dmarc.Row{
		{}, {DKIM: true}, {SPF: true}, {HeaderFrom: "ab"}, {EnvelopeFrom: "ab"}, {HeaderFrom: "a", EnvelopeFrom: "b"},
		{Overrides: []dmarc.Override{{}}}, {Signatures: []dmarc.SignatureResult{{}}}, {Senders: []dmarc.SenderResult{{}}},
		{Signatures: []dmarc.SignatureResult{{Domain: "a"}}}, {Signatures: []dmarc.SignatureResult{{Selector: "a"}}},
	} {
		old, dup := seen[rowKey(&r)]
		assert.False(t, dup, "%d and %d", i, old)
		seen[rowKey(&r)] = i
	}
	assert.Equal(t, rowKey(&dmarc.Row{}), rowKey(&dmarc.Row{Count: 7}))
}

func TestSenderDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight
		store, out := new(Memory), new(outbox)
		s, c := newSender(store, out), &Collector{Store: store}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		for range 4 {
			require.NoError(t, c.Add(observation("a.test", 1)))
		}
		own := observation("reports.r.test", 1)
		require.NoError(t, c.Add(own))
		skip := observation("a.test", 9)
		skip.Report = true
		require.NoError(t, c.Add(skip))
		time.Sleep(24*time.Hour - time.Second)
		synctest.Wait()
		assert.Empty(t, out.all())
		time.Sleep(time.Hour + settle + 2*time.Second)
		synctest.Wait()
		require.Len(t, out.all(), 1)
		m := out.all()[0]
		assert.Equal(t, "d@a.test", m.To)
		parsed, err := mail.ReadMessage(bytes.NewReader(m.Message))
		require.NoError(t, err)
		assert.Equal(t, "<dmarc@reports.r.test>", "<"+strings.Trim(parsed.Header.Get("From"), "<>")+">")
		assert.True(t, IsReport(message.ParseHeader(m.Message)))
		var rows []dmarc.Row
		got, err := Parse(bytes.NewReader(m.Message), int64(len(m.Message)), nil, func(r *dmarc.Row) error { rows = append(rows, *r); return nil })
		require.NoError(t, err)
		require.Len(t, got.Aggregates, 1)
		a := got.Aggregates[0]
		assert.Equal(t, "a.test", a.Published.Domain)
		assert.Equal(t, 24*time.Hour-time.Second, a.End.Sub(a.Begin))
		assert.Contains(t, parsed.Header.Get("Subject"), a.ID)
		require.Len(t, rows, 1)
		assert.EqualValues(t, 4, rows[0].Count)
		assert.Zero(t, store.bytes)
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestSenderRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Sender, *outbox)
		sent   int
		err    error
		kept   bool
	}{
		"sent":        {func(*Sender, *outbox) {}, 1, nil, false},
		"no allow":    {func(s *Sender, _ *outbox) { s.Allow = nil }, 0, nil, false},
		"not allowed": {func(s *Sender, _ *outbox) { s.Allow = func(string) bool { return false } }, 0, nil, false},
		"large":       {func(s *Sender, _ *outbox) { s.MaxSize = 10 }, 0, ErrTooLarge, false},
		"down":        {func(_ *Sender, o *outbox) { o.err = errors.New("down") }, 0, nil, true},
		"not agreed":  {func(s *Sender, _ *outbox) { s.Verifier = &verifier{[]error{dmarc.ErrNotAgreed}} }, 1, dmarc.ErrNotAgreed, false},
		"dns":         {func(s *Sender, _ *outbox) { s.Verifier = &verifier{[]error{dmarc.ErrDNS}} }, 1, dmarc.ErrDNS, true},
		"incomplete":  {func(s *Sender, _ *outbox) { s.Address = "x" }, 0, ErrSender, true},
		"expired":     {func(s *Sender, o *outbox) { o.err, s.MaxAge = errors.New("down"), 1 }, 0, ErrExpired, false},
		"day's cap":   {func(s *Sender, _ *outbox) { s.MaxPerDay, s.caps = 1, caps{dayOf(time.Now()), 1, map[string]int{}} }, 0, ErrCap, true},
		"domain's cap": {func(s *Sender, _ *outbox) {
			s.MaxPerDestination, s.caps = 1, caps{dayOf(time.Now()), 0, map[string]int{"a.test": 1}}
		}, 0, ErrCap, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, out := new(Memory), new(outbox)
				require.NoError(t, (&Collector{Store: store}).Add(observation("a.test", 1)))
				time.Sleep(25 * time.Hour)
				s := newSender(store, out)
				c.change(s, out)
				n, errs := s.Send(t.Context())
				assert.Equal(t, c.sent, n)
				assert.Len(t, out.mail, c.sent)
				if c.err != nil {
					assert.ErrorIs(t, errors.Join(errs...), c.err)
				}
				assert.Equal(t, c.kept, len(store.windows) == 1)
				if c.kept {
					n, _ = s.Send(t.Context())
					assert.Zero(t, n, "sent twice, or without leave")
				}
			})
		})
	}
}

func TestParseHostile(t *testing.T) {
	for name, body := range map[string]string{
		"no report": "Subject: x\r\n\r\nhello\r\n", "empty": "", "not xml": "Content-Type: text/xml\r\n\r\nhello",
		"entity":      "Content-Type: text/xml\r\n\r\n<!DOCTYPE a [<!ENTITY b \"c\">]><feedback>&b;</feedback>",
		"not gzip":    "Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\nH4sIAAAA",
		"not failure": "Content-Type: message/feedback-report\r\n\r\nx",
	} {
		_, err := Parse(strings.NewReader(body), int64(len(body)), nil, nil)
		assert.ErrorIs(t, err, dmarc.ErrReport, name)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Content-Type: text/xml\r\n\r\n<feedback><report_metadata></report_metadata></feedback>"))
	f.Add([]byte("Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: auth-failure\r\n\r\n--b--\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := Parse(bytes.NewReader(b), int64(len(b)), &dmarc.Reader{MaxExpanded: 1 << 20}, nil)
		if err != nil && !errors.Is(err, dmarc.ErrReport) {
			t.Fatal(err)
		}
	})
}

func BenchmarkCollector(b *testing.B) {
	c := &Collector{Store: new(Memory)}
	o := observation("a.test", 1)
	b.ReportAllocs()
	for b.Loop() {
		_ = c.Add(o)
	}
}

func ExampleSender() {
	store := &Memory{}
	c := &Collector{Store: store}
	_ = c.Add(observation("a.test", 1))
	s := &Sender{Store: store, Submitter: new(outbox), Verifier: &dmarc.Evaluator{}, Domain: "r.test", Address: "dmarc@reports.r.test",
		Allow: func(domain string) bool { return domain == "a.test" }}
	sent, errs := s.Send(context.Background()) // the day has not ended
	fmt.Println(sent, errs)
	// Output: 0 []
}
