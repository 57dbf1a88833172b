package report

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/message"
)

// Observation is the outcome for one message.
type Observation struct {
	// Published is the policy that applied, URIs the record's AggregateURIs.
	// Without any nothing is kept.
	Published dmarc.Published
	URIs      []string
	// Row is the outcome; a Count of 0 is 1.
	Row dmarc.Row
	// Report says that the message is itself a report; see IsReport. It is not
	// counted, so that two reporters do not keep each other busy.
	Report bool
}

// Window is a day in UTC of one policy domain. Where the policy changed in the
// day there are several.
type Window struct {
	Day       time.Time
	Published dmarc.Published
	URIs      []string
	Rows      []dmarc.Row
	// Lost is how many messages were not counted, because of a limit.
	Lost int64
}

// ErrFull: a limit of the store is reached; the message is not counted.
var ErrFull = errors.New("report: the store is full")

// Store keeps windows. It must be safe for concurrent use. One that has Save()
// error as well is told to at the end of a Sender's round.
type Store interface {
	// Add counts a message on a day (its first moment in UTC). The error is
	// ErrFull or the store's own.
	Add(day time.Time, o *Observation) error
	// Windows are those of days before the given one, the oldest first. What
	// is returned is the caller's.
	Windows(before time.Time) ([]Window, error)
	// Done forgets a window. One that is not there is no error.
	Done(w *Window) error
}

// Collector counts messages in days of UTC. It is safe for concurrent use.
type Collector struct {
	// Store keeps the windows; without one Add does nothing.
	Store Store
	// Allow, if not nil, says which policy domains are counted at all: give it
	// the Sender's, or strangers' domains fill the Store.
	Allow func(policyDomain string) bool
}

// Add counts a message under the present day. Reports, messages of domains
// that want no reports and those that came from no address are left out. Errors
// are the store's; mail need not wait or fail for them.
func (c *Collector) Add(o Observation) error {
	if c.Store == nil || o.Report || len(o.URIs) == 0 || o.Published.Domain == "" || !o.Row.Source.IsValid() || c.Allow != nil && !c.Allow(o.Published.Domain) {
		return nil
	}
	o.Row.Source = o.Row.Source.Unmap().WithZone("") // the zone is this machine's own
	return c.Store.Add(dayOf(time.Now()), &o)
}

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// IsReport reports whether a message is a report, by its header: a
// multipart/report, or the subject of an aggregate report (RFC 9990 §3.5.2).
// Anybody can write such a header; the message is then only not counted.
func IsReport(h *message.Header) bool {
	for f := range h.Fields() {
		value := strings.ToLower(strings.TrimSpace(f.Value()))
		switch strings.ToLower(f.Name()) {
		case "content-type":
			if strings.HasPrefix(value, "multipart/report") {
				return true
			}
		case "subject":
			// Any white space may stand between the words.
			if w := strings.Fields(value); len(w) > 1 && w[0] == "report" && w[1] == "domain:" {
				return true
			}
		}
	}
	return false
}

// Defaults of Memory's limits.
const (
	DefaultMaxWindows = 10_000
	DefaultMaxRows    = 10_000
	DefaultMaxBytes   = 64 << 20
)

// What strangers can make of it.
const (
	maxRow      = 8 << 10 // octets of one row
	maxPolicies = 8       // windows of a domain in a day
	maxShare    = 8       // a domain's day has at most this part of MaxBytes
)

// Memory is a Store in memory: a restart loses what was not sent. The zero
// value is ready to use. Whoever sends mail in one domain's name cannot fill it
// for all: a domain's day has at most an eighth of MaxBytes and 8 windows; later
// policies of that day are counted in the last of them (RFC 9990 §3.3). Of a row
// with too long names the last signatures are left out.
type Memory struct {
	// MaxWindows is how many windows there may be, MaxRows how many rows in one
	// of them, MaxBytes how much memory all take, roughly. 0:
	// DefaultMaxWindows, DefaultMaxRows, DefaultMaxBytes.
	MaxWindows, MaxRows int
	MaxBytes            int64

	mu      sync.Mutex
	windows map[windowKey]*window
	domains map[domainKey]*domainDay
	bytes   int64
}

type domainKey struct {
	day    int64
	domain string
}

// domainDay is what a domain has of a day.
type domainDay struct {
	last           *window // the one that was made last; there for certain when windows is maxPolicies
	windows, bytes int64
}

type windowKey struct {
	day       int64
	published dmarc.Published
}

type window struct {
	Window
	rows  map[string]int // index into Rows
	bytes int64
}

// Add implements Store.
func (m *Memory) Add(day time.Time, o *Observation) error {
	r, id := fit(&o.Row)
	count := max(o.Row.Count, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	d, w := m.window(day, o)
	if w == nil {
		return ErrFull
	}
	if i, ok := w.rows[id]; ok {
		w.Rows[i].Count += count
		return nil
	}
	size := int64(512 + 2*len(id))
	if len(id) > maxRow || len(w.Rows) >= cmp.Or(m.MaxRows, DefaultMaxRows) || !m.fits(d, size) {
		w.Lost += count
		return ErrFull
	}
	row := cloneRow(&r)
	row.Count = count
	w.rows[id] = len(w.Rows)
	w.Rows = append(w.Rows, row)
	m.grow(d, w, size)
	return nil
}

// fit is a row without what makes it too long, and its key.
func fit(r *dmarc.Row) (dmarc.Row, string) {
	c := *r
	id := rowKey(&c)
	for len(id) > maxRow && len(c.Signatures) > 0 {
		c.Signatures = c.Signatures[:len(c.Signatures)-1]
		id = rowKey(&c)
	}
	return c, id
}

// window is where a message is counted, nil if there is no room for another.
func (m *Memory) window(day time.Time, o *Observation) (*domainDay, *window) {
	key, of := windowKey{day.Unix(), o.Published}, domainKey{day.Unix(), o.Published.Domain}
	d, w := m.domains[of], m.windows[key]
	switch {
	case w != nil:
		return d, w
	case d == nil:
		d = new(domainDay)
	case d.windows >= maxPolicies:
		return d, d.last
	}
	uris := o.URIs[:min(len(o.URIs), dmarc.MaxDestinations)]
	size := int64(1024 + 2*len(o.Published.Domain) + len(o.Published.FailureOptions))
	for _, u := range uris {
		size += int64(len(u))
	}
	if len(m.windows) >= cmp.Or(m.MaxWindows, DefaultMaxWindows) || !m.fits(d, size) {
		return nil, nil
	}
	if m.windows == nil {
		m.windows, m.domains = make(map[windowKey]*window), make(map[domainKey]*domainDay)
	}
	w = &window{Window: Window{Day: day, Published: o.Published, URIs: slices.Clone(uris)}, rows: make(map[string]int)}
	m.windows[key], m.domains[of] = w, d
	d.last, d.windows = w, d.windows+1
	m.grow(d, w, size)
	return d, w
}

func (m *Memory) fits(d *domainDay, size int64) bool {
	most := cmp.Or(m.MaxBytes, DefaultMaxBytes)
	return m.bytes+size <= most && d.bytes+size <= most/maxShare
}

func (m *Memory) grow(d *domainDay, w *window, size int64) {
	m.bytes += size
	d.bytes += size
	w.bytes += size
}

// Windows implements Store.
func (m *Memory) Windows(before time.Time) ([]Window, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Window
	for _, w := range m.windows {
		if w.Day.Before(before) {
			c := w.Window
			c.URIs, c.Rows = slices.Clone(w.URIs), slices.Clone(w.Rows)
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Window) int {
		return cmp.Or(a.Day.Compare(b.Day), cmp.Compare(a.Published.Domain, b.Published.Domain), cmp.Compare(reportID(&a, ""), reportID(&b, "")))
	})
	return all, nil
}

// lost adds what an earlier process could not count to a window.
func (m *Memory) lost(w *Window) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.windows[windowKey{w.Day.Unix(), w.Published}]; known != nil {
		known.Lost += w.Lost
	}
}

// Done implements Store.
func (m *Memory) Done(w *Window) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := windowKey{w.Day.Unix(), w.Published}
	if old := m.windows[key]; old != nil {
		m.bytes -= old.bytes
		delete(m.windows, key)
		of := domainKey{key.day, w.Published.Domain}
		d := m.domains[of]
		d.windows, d.bytes = d.windows-1, d.bytes-old.bytes
		if d.windows == 0 {
			delete(m.domains, of)
		}
	}
	return nil
}

// cloneRow is a copy that keeps nothing of the message alive.
func cloneRow(r *dmarc.Row) dmarc.Row {
	c := *r
	c.Overrides, c.Signatures, c.Senders = slices.Clone(r.Overrides), slices.Clone(r.Signatures), slices.Clone(r.Senders)
	for _, s := range []*string{&c.Disposition, &c.HeaderFrom, &c.EnvelopeFrom, &c.EnvelopeTo} {
		*s = strings.Clone(*s)
	}
	for i := range c.Overrides {
		o := &c.Overrides[i]
		o.Type, o.Comment = strings.Clone(o.Type), strings.Clone(o.Comment)
	}
	for i := range c.Signatures {
		s := &c.Signatures[i]
		s.Domain, s.Selector, s.Result, s.Human = strings.Clone(s.Domain), strings.Clone(s.Selector), strings.Clone(s.Result), strings.Clone(s.Human)
	}
	for i := range c.Senders {
		s := &c.Senders[i]
		s.Domain, s.Scope, s.Result, s.Human = strings.Clone(s.Domain), strings.Clone(s.Scope), strings.Clone(s.Result), strings.Clone(s.Human)
	}
	return c
}

// rowKey is the same for two rows that differ in Count alone, and for no
// others: every string is preceded by its length, every list by its own.
func rowKey(r *dmarc.Row) string {
	b := make([]byte, 0, 256)
	add := func(list ...string) {
		for _, s := range list {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	flags := byte(0)
	if r.DKIM {
		flags |= 1
	}
	if r.SPF {
		flags |= 2
	}
	b = append(b, flags)
	add(r.Source.String(), r.Disposition, r.HeaderFrom, r.EnvelopeFrom, r.EnvelopeTo)
	b = binary.AppendUvarint(b, uint64(len(r.Overrides)))
	for _, o := range r.Overrides {
		add(o.Type, o.Comment)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Signatures)))
	for _, s := range r.Signatures {
		add(s.Domain, s.Selector, s.Result, s.Human)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Senders)))
	for _, s := range r.Senders {
		add(s.Domain, s.Scope, s.Result, s.Human)
	}
	return string(b)
}
