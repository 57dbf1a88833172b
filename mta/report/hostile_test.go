package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
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

var yesterday = dayOf(time.Now()).Add(-24 * time.Hour)

// stored has one message each of yesterday's.
func stored(t *testing.T, store Store, all ...Observation) {
	t.Helper()
	for i := range all {
		require.NoError(t, store.Add(yesterday, &all[i]))
	}
}

// senderNow is a sender for whom yesterday has ended whatever the time is.
func senderNow(store Store, out *outbox) *Sender { return newSender(settled{store}, out) }

type settled struct{ Store }

func (s settled) Windows(time.Time) ([]Window, error) { return s.Store.Windows(dayOf(time.Now())) }

func (s settled) Save() error {
	if k, ok := s.Store.(*File); ok {
		return k.Save()
	}
	return nil
}

func field(t *testing.T, m *Mail, name string) string {
	t.Helper()
	var all []string
	for f := range message.ParseHeader(m.Message).Fields() {
		if strings.EqualFold(f.Name(), name) {
			all = append(all, strings.Join(strings.Fields(f.Value()), " "))
		}
	}
	require.Len(t, all, 1, name)
	return all[0]
}

// TestMessageFormat holds the mail against the grammar of RFC 9990 §3.5.
func TestMessageFormat(t *testing.T) {
	long := strings.Repeat(strings.Repeat("d", 60)+".", 4) + "test"
	for _, domain := range []string{"a.test", long} {
		store, out := new(Memory), new(outbox)
		o := observation(domain, 1)
		o.URIs = []string{"mailto:d@a.test"}
		stored(t, store, o)
		n, errs := senderNow(store, out).Send(t.Context())
		require.Empty(t, errs)
		require.Equal(t, 1, n)
		m := out.mail[0]
		got, err := Parse(bytes.NewReader(m.Message), int64(len(m.Message)), nil, nil)
		require.NoError(t, err)
		id := got.Aggregates[0].ID
		assert.Regexp(t, `^[A-Za-z0-9]{30,}$`, id)
		assert.Equal(t, "Report Domain: "+domain+" Submitter: r.test Report-ID: "+id, field(t, m, "Subject"))
		assert.Equal(t, "<"+id+"@reports.r.test>", field(t, m, "Message-ID"))
		assert.Equal(t, "dmarc@reports.r.test", field(t, m, "From"))
		assert.Equal(t, "d@a.test", field(t, m, "To"))
		assert.Equal(t, "auto-generated", field(t, m, "Auto-Submitted"))
		o2, err := message.Parse(bytes.NewReader(m.Message), int64(len(m.Message)), nil)
		require.NoError(t, err)
		var names []string
		for p := range o2.Root.Walk() {
			if p.MediaType() == "application/gzip" {
				names = append(names, p.FileName())
			}
		}
		require.Len(t, names, 1)
		assert.Equal(t, fmt.Sprintf("r.test!%s!%d!%d!%s.xml.gz", domain, yesterday.Unix(), yesterday.Unix()+86399, id), names[0])
		for line := range bytes.SplitSeq(bytes.TrimSuffix(m.Message, []byte("\r\n")), []byte("\r\n")) {
			assert.LessOrEqual(t, len(line), 998)
			assert.NotRegexp(t, regexp.MustCompile(`[\r\n]|[^\x00-\x7f]`), string(line))
		}
	}
}

// TestSameReportSameNames: after a crash the report goes out again, and can be
// known as the one that came before; another's cannot be taken for it.
func TestSameReportSameNames(t *testing.T) {
	names := func(receiver string, o Observation) string {
		store, out := new(Memory), new(outbox)
		stored(t, store, o)
		s := senderNow(store, out)
		s.Domain = receiver
		n, errs := s.Send(t.Context())
		require.Equal(t, 1, n, "%v", errs)
		return field(t, out.mail[0], "Message-ID")
	}
	other := observation("a.test", 1)
	other.Published.Testing = true
	once := names("r.test", observation("a.test", 1))
	assert.Equal(t, once, names("r.test", observation("a.test", 2)))
	assert.NotEqual(t, once, names("s.test", observation("a.test", 1)))
	assert.NotEqual(t, once, names("r.test", observation("b.test", 1)))
	assert.NotEqual(t, once, names("r.test", other))
}

type stopping struct{ stop func() }

func (s stopping) Submit(ctx context.Context, _ *Mail) error { s.stop(); return ctx.Err() }

// TestStoppedInTheMiddle: a window that is old enough to be given up has not
// been tried when its round was stopped.
func TestStoppedInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(Memory)
		require.NoError(t, (&Collector{Store: store}).Add(observation("a.test", 1)))
		time.Sleep(10 * 24 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		s := newSender(store, nil)
		s.Submitter = stopping{cancel}
		_, errs := s.Send(ctx)
		assert.ErrorIs(t, errors.Join(errs...), context.Canceled)
		assert.NotErrorIs(t, errors.Join(errs...), ErrExpired)
		out := new(outbox)
		s.Submitter = out
		n, errs := s.Send(t.Context())
		assert.Equal(t, 1, n)
		assert.Empty(t, errs)
	})
}

// TestSettle: what is counted around midnight is not lost between two reports.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, out := new(Memory), new(outbox)
		s := newSender(store, out)
		require.NoError(t, (&Collector{Store: store}).Add(observation("a.test", 1)))
		time.Sleep(24*time.Hour + settle - time.Second)
		n, _ := s.Send(t.Context())
		assert.Zero(t, n)
		time.Sleep(time.Second)
		n, _ = s.Send(t.Context())
		assert.Equal(t, 1, n)
	})
}

func TestCapsCountWhatWasSent(t *testing.T) {
	store, out := new(Memory), &outbox{err: errors.New("down")}
	stored(t, store, observation("a.test", 1))
	s := senderNow(store, out)
	s.MaxPerDay, s.MaxPerDestination = 1, 1
	for range 3 {
		n, errs := s.Send(t.Context())
		assert.Zero(t, n)
		assert.NotErrorIs(t, errors.Join(errs...), ErrCap)
	}
	out.err = nil
	n, errs := s.Send(t.Context())
	assert.Equal(t, 1, n, "%v", errs)

	f := &FailureSender{Submitter: &outbox{err: errors.New("down")}, Verifier: new(verifier), Address: "d@r.test", MaxPerDay: 1, Allow: func(string) bool { return true }}
	for range 3 {
		_, errs := f.Send(t.Context(), "a.test", []string{"mailto:d@a.test"}, new(dmarc.Failure))
		assert.NotErrorIs(t, errors.Join(errs...), ErrCap)
	}
}

type asked struct {
	verifier
	n int
}

func (v *asked) Destinations(ctx context.Context, d string, uris []string) ([]dmarc.Destination, []error) {
	v.n++
	return v.verifier.Destinations(ctx, d, uris)
}

// TestFairCaps: no name is always behind the others, and what the day's cap
// leaves for tomorrow costs no questions.
func TestFairCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reached := map[string]bool{}
		for range 8 {
			store, out, v := new(Memory), new(outbox), new(asked)
			c := &Collector{Store: store}
			for i := range 40 {
				require.NoError(t, c.Add(observation(fmt.Sprintf("d%02d.test", i), 1)))
			}
			time.Sleep(25 * time.Hour)
			s := newSender(store, out)
			s.MaxPerDay, s.Verifier = 10, v
			n, errs := s.Send(t.Context())
			assert.Equal(t, 10, n)
			assert.Equal(t, 10, v.n)
			assert.Len(t, errs, 30)
			for _, m := range out.mail {
				reached[m.To] = true
			}
		}
		assert.Greater(t, len(reached), 20)
	})
}

// TestOneNameDoesNotFillTheStore: mail in one domain's name, from everywhere and
// under any policy, leaves room for the others.
func TestOneNameDoesNotFillTheStore(t *testing.T) {
	m := &Memory{MaxBytes: 1 << 20, MaxWindows: 120}
	var full int64
	for i := range 20_000 {
		o := observation("forged.test", byte(i))
		o.Row.EnvelopeFrom = fmt.Sprint(i, ".test")
		o.Published.FailureOptions = fmt.Sprint(i % 1000)
		if err := m.Add(yesterday, &o); err != nil {
			require.ErrorIs(t, err, ErrFull)
			full++
		}
	}
	assert.Positive(t, full)
	for i := range 100 {
		stored(t, m, observation(fmt.Sprint("d", i, ".test"), 1))
	}
	windows, err := m.Windows(dayOf(time.Now()))
	require.NoError(t, err)
	require.Len(t, windows, 100+maxPolicies)
	var counted int64
	for i := range windows {
		if windows[i].Published.Domain == "forged.test" {
			counted += windows[i].Lost
			for _, r := range windows[i].Rows {
				counted += r.Count
			}
		}
		require.NoError(t, m.Done(&windows[i]))
		require.NoError(t, m.Done(&windows[i]), "once more")
	}
	assert.EqualValues(t, 20_000, counted, "what does not fit is told as lost")
	assert.Zero(t, m.bytes)
	assert.Empty(t, m.domains)
}

// TestDoneKeepsTheRest: the window that later policies are counted in is always
// one that is there.
func TestDoneKeepsTheRest(t *testing.T) {
	m := new(Memory)
	add := func(i int) error {
		o := observation("a.test", 1)
		o.Published.FailureOptions = fmt.Sprint(i)
		return m.Add(yesterday, &o)
	}
	for i := range maxPolicies {
		require.NoError(t, add(i))
	}
	windows, err := m.Windows(dayOf(time.Now()))
	require.NoError(t, err)
	require.NoError(t, m.Done(&windows[maxPolicies-1]))
	require.NoError(t, m.Done(&windows[0]))
	for i := range 20 {
		require.NoError(t, add(100+i))
	}
	windows, err = m.Windows(dayOf(time.Now()))
	require.NoError(t, err)
	require.Len(t, windows, maxPolicies)
	var n int64
	for _, w := range windows {
		for _, r := range w.Rows {
			n += r.Count
		}
	}
	assert.EqualValues(t, maxPolicies-2+20, n)
}

func TestLongRowKeepsWhatMatters(t *testing.T) {
	m := new(Memory)
	o := observation("a.test", 1)
	for i := range 10 {
		o.Row.Signatures = append(o.Row.Signatures, dmarc.SignatureResult{Domain: fmt.Sprint(i), Selector: strings.Repeat("s", 2000), Result: "fail"})
	}
	stored(t, m, o)
	windows, err := m.Windows(dayOf(time.Now()))
	require.NoError(t, err)
	require.Len(t, windows[0].Rows, 1)
	assert.Len(t, windows[0].Rows[0].Signatures, 4)
	assert.Equal(t, "0", windows[0].Rows[0].Signatures[0].Domain)
	assert.Len(t, o.Row.Signatures, 10)
}

// TestLargeReport: nonsense in a domain's name does not keep its owner from
// hearing of the rest.
func TestLargeReport(t *testing.T) {
	store, out := new(Memory), new(outbox)
	for i := range 4000 {
		o := observation("a.test", byte(i))
		o.Row.EnvelopeFrom = fmt.Sprintf("%x.test", i*7919*104729)
		stored(t, store, o)
	}
	real := observation("a.test", 77)
	real.Row.Count, real.Row.EnvelopeFrom = 1000, "real.test"
	stored(t, store, real)
	s := senderNow(store, out)
	s.MaxSize = 16 << 10
	n, errs := s.Send(t.Context())
	require.Empty(t, errs)
	require.Equal(t, 1, n)
	var rows []dmarc.Row
	m := out.mail[0].Message
	got, err := Parse(bytes.NewReader(m), int64(len(m)), nil, func(r *dmarc.Row) error { rows = append(rows, *r); return nil })
	require.NoError(t, err)
	assert.Equal(t, "real.test", rows[0].EnvelopeFrom)
	assert.Greater(t, len(rows), 100)
	require.Len(t, got.Aggregates[0].Errors, 1)
	assert.Contains(t, got.Aggregates[0].Errors[0], fmt.Sprint(4001-len(rows), " messages are not in"))
}

func TestSourceOfARow(t *testing.T) {
	m := new(Memory)
	c := &Collector{Store: m}
	for _, ip := range []netip.Addr{{}, netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:192.0.2.1")} {
		o := observation("a.test", 1)
		o.Row.Source = ip
		require.NoError(t, c.Add(o))
	}
	windows, err := m.Windows(time.Now().Add(48 * time.Hour))
	require.NoError(t, err)
	var got []string
	for _, r := range windows[0].Rows {
		got = append(got, r.Source.String())
	}
	assert.Equal(t, []string{"fe80::1", "192.0.2.1"}, got)
}

func TestIsReport(t *testing.T) {
	for header, want := range map[string]bool{
		"Subject: Report Domain: a Submitter: b\r\n":        true,
		"Subject: Report\r\n Domain: a\r\n":                 true,
		"SUBJECT: report \t domain: a\r\n":                  true,
		"Content-Type: Multipart/Report; boundary=x\r\n":    true,
		"Subject: Your Domain: a\r\n":                       false,
		"Subject: Report Domain\r\n":                        false,
		"Subject: Re: Report Domain: a\r\n":                 false,
		"Subject: Report\r\n":                               false,
		"Content-Type: multipart/mixed\r\nX-Subject: a\r\n": false,
		"Subject:\r\n":                                      false,
	} {
		assert.Equal(t, want, IsReport(message.ParseHeader([]byte(header+"\r\n"))), "%q", header)
	}
}

func TestFailureMail(t *testing.T) {
	out := new(outbox)
	s := &FailureSender{Submitter: out, Verifier: new(verifier), Address: "dmarc@reports.r.test", Allow: func(string) bool { return true }}
	f := &dmarc.Failure{Domain: "a.test", Header: []byte("From: x@a.test\r\nX-Mailer: " + strings.Repeat("y", 5000) + "\r\n" + strings.Repeat("Message-ID: <"+strings.Repeat("z", 800)+"@a.test>\r\n", 500) + "\r\n")}
	n, errs := s.Send(t.Context(), "a.test", []string{"mailto:d@a.test", "mailto:d@a.test"}, f)
	assert.Equal(t, 1, n, "once to each")
	assert.Empty(t, errs)
	m := out.mail[0].Message
	assert.Less(t, len(m), 2*maxHeader)
	for line := range bytes.SplitSeq(m, []byte("\r\n")) {
		assert.LessOrEqual(t, len(line), 998)
	}
	got, err := Parse(bytes.NewReader(m), int64(len(m)), nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "Posta", got.Failures[0].Reporter)
	assert.Equal(t, "none", got.Failures[0].Alignment)
}

// TestFileFaults: what a crash, a full disk or another hand leaves.
func TestFileFaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	f := &File{Path: path}
	stored(t, f, observation("a.test", 1), observation("b.test", 1))
	require.NoError(t, f.Save())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)

	for n := range len(whole) { // torn anywhere
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		torn := &File{Path: path}
		_, err := torn.Windows(dayOf(time.Now()))
		require.NoError(t, err)
		require.NoFileExists(t, path)
	}
	require.NoError(t, os.WriteFile(path, append(bytes.Clone(whole), bytes.Repeat([]byte(" "), 20<<20)...), 0o600))
	huge := &File{Path: path, Memory: Memory{MaxBytes: 1 << 20}}
	windows, err := huge.Windows(dayOf(time.Now()))
	require.NoError(t, err)
	assert.Empty(t, windows)
	assert.NoFileExists(t, path)

	// A crash while it was written.
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	require.NoError(t, os.WriteFile(path+".new", bytes.Repeat([]byte("x"), 10_000), 0o600))
	f = &File{Path: path}
	require.NoError(t, f.Save())
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, whole, after)
	assert.NoFileExists(t, path+".new")

	// It cannot be written: what was sent is not sent again.
	require.NoError(t, os.MkdirAll(path+".new/x", 0o700))
	out := new(outbox)
	s := senderNow(f, out)
	n, errs := s.Send(t.Context())
	assert.Equal(t, 2, n)
	assert.NotEmpty(t, errs)
	n, _ = s.Send(t.Context())
	assert.Zero(t, n)
	require.NoError(t, os.RemoveAll(path+".new"))
	require.NoError(t, f.Save())
	windows, err = (&File{Path: path}).Windows(dayOf(time.Now()))
	require.NoError(t, err)
	assert.Empty(t, windows)
}

// TestFileIsNotWrittenForEach: where writing takes long, a round writes once.
func TestFileIsNotWrittenForEach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	f := &File{Path: path}
	stored(t, f, observation("a.test", 1), observation("b.test", 1))
	require.NoError(t, f.Save())
	f.took = time.Hour
	windows, err := f.Windows(dayOf(time.Now()))
	require.NoError(t, err)
	require.NoError(t, f.Done(&windows[0]))
	left, err := (&File{Path: path}).Windows(dayOf(time.Now()))
	require.NoError(t, err)
	assert.Len(t, left, 2)
	n, errs := newSender(settled{f}, new(outbox)).Send(t.Context())
	assert.Equal(t, 1, n, "%v", errs)
	left, err = (&File{Path: path}).Windows(dayOf(time.Now()))
	require.NoError(t, err)
	assert.Empty(t, left)

	f.saved = time.Time{}
	f.mu.Lock() // a save is going on
	o := observation("c.test", 1)
	require.NoError(t, f.Add(yesterday, &o))
	f.mu.Unlock()
}

func TestTogether(t *testing.T) {
	f := &File{Path: filepath.Join(t.TempDir(), "seen"), SaveEvery: time.Microsecond}
	out := new(outbox)
	s := senderNow(f, out)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 50 {
				o := observation(fmt.Sprintf("d%d-%d.test", g, i), 1)
				assert.NoError(t, f.Add(yesterday, &o))
				if i%10 == 0 {
					_, errs := s.Send(t.Context())
					assert.Empty(t, errs)
				}
			}
		})
	}
	all.Wait()
	_, errs := s.Send(t.Context())
	assert.Empty(t, errs)
	to := map[string]int{}
	for _, m := range out.all() {
		to[m.To]++
	}
	assert.Len(t, to, 200)
	assert.Empty(t, f.windows)
}

// TestManyBombs: ten attachments do not cost ten times what one may.
func TestManyBombs(t *testing.T) {
	var m bytes.Buffer
	m.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for range maxReports {
		m.WriteString("--b\r\nContent-Type: text/xml\r\n\r\n<feedback>" + strings.Repeat("<record></record>", 900) + "</feedback>\r\n")
	}
	m.WriteString("--b--\r\n")
	rows := 0
	got, err := Parse(bytes.NewReader(m.Bytes()), int64(m.Len()), &dmarc.Reader{MaxRows: 4000}, func(*dmarc.Row) error { rows++; return nil })
	assert.ErrorIs(t, err, dmarc.ErrReportLimit)
	assert.Len(t, got.Aggregates, 3)
	assert.Less(t, rows, 8000)
	_, err = Parse(bytes.NewReader(m.Bytes()), int64(m.Len()), &dmarc.Reader{MaxExpanded: 40_000}, nil)
	assert.ErrorIs(t, err, dmarc.ErrReportLimit)
	_, err = Parse(bytes.NewReader(m.Bytes()), int64(m.Len()), nil, nil)
	assert.NoError(t, err)
}

// FuzzFile has anything in the place of the file: it is read or set aside, and
// what is written then is read again.
func FuzzFile(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "seen")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		file := &File{Path: path, Memory: Memory{MaxBytes: 1 << 20}}
		o := observation("new.test", 1)
		require.NoError(t, file.Add(yesterday, &o))
		require.NoError(t, file.Save())
		all := func(f *File) []Window {
			windows, err := f.Windows(time.Now().Add(200 * 365 * 24 * time.Hour))
			require.NoError(t, err)
			for i := range windows {
				require.GreaterOrEqual(t, windows[i].Lost, int64(0))
				for _, r := range windows[i].Rows {
					require.Positive(t, r.Count)
				}
			}
			return windows
		}
		require.Len(t, all(&File{Path: path}), len(all(file)))
	})
}

// FuzzMail has what strangers say in a report: the mail is one report to one
// address, or there is none.
func FuzzMail(f *testing.F) {
	f.Fuzz(func(t *testing.T, domain, to, name, reason string) {
		store, out := new(Memory), new(outbox)
		o := observation("a.test", 1)
		o.Published.Domain, o.URIs = domain, []string{"mailto:" + to}
		o.Row.HeaderFrom, o.Row.EnvelopeFrom = name, name
		o.Row.Overrides = []dmarc.Override{{Type: "other", Comment: reason}}
		if store.Add(yesterday, &o) != nil {
			return
		}
		if n, _ := senderNow(store, out).Send(t.Context()); n == 0 {
			return
		}
		m := out.mail[0]
		for _, once := range []string{"From", "To", "Subject", "Message-ID", "Date", "MIME-Version", "Content-Type", "Auto-Submitted"} {
			field(t, m, once)
		}
		for h := range message.ParseHeader(m.Message).Fields() {
			require.NotEqual(t, "bcc", strings.ToLower(h.Name()))
		}
		var rows int
		got, err := Parse(bytes.NewReader(m.Message), int64(len(m.Message)), nil, func(r *dmarc.Row) error { rows++; require.EqualValues(t, 1, r.Count); return nil })
		require.NoError(t, err)
		require.Len(t, got.Aggregates, 1)
		require.Equal(t, 1, rows)
	})
}

// BenchmarkReport has a report of 100,000 rows, as its mail.
func BenchmarkReport(b *testing.B) {
	w := &Window{Day: yesterday, Published: observation("a.test", 1).Published}
	for i := range 100_000 {
		o := observation("a.test", byte(i))
		o.Row.Source = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		w.Rows = append(w.Rows, o.Row)
	}
	s := newSender(new(Memory), nil)
	b.ReportAllocs()
	for b.Loop() {
		a, data, err := s.pack(w)
		require.NoError(b, err)
		_, err = s.mail(a, "d@a.test", data)
		require.NoError(b, err)
	}
}
