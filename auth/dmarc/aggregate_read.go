package dmarc

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/charmap"
)

// Defaults of a Reader's limits.
const (
	DefaultMaxCompressed = 10 << 20
	DefaultMaxExpanded   = 200 << 20
	DefaultMaxRows       = 1_000_000
)

// ErrReportLimit is the kind of errors about reports that are larger than a
// Reader takes: it wraps ErrReport.
var ErrReportLimit = fmt.Errorf("%w: beyond a limit", ErrReport)

// What no report needs more of.
const (
	maxReportDepth = 16
	maxReportToken = 64 << 10
	maxReportRow   = 1000 // results and reasons of a row
	maxReportText  = 4096 // octets of one value that are kept
)

// Reader reads aggregate reports, which anybody may send. The zero value is
// ready to use; it is safe for concurrent use.
type Reader struct {
	// MaxCompressed is how many octets of an attachment are read, MaxExpanded
	// how many come out of it, MaxRows how many rows a report may have. 0:
	// DefaultMaxCompressed, DefaultMaxExpanded, DefaultMaxRows.
	MaxCompressed, MaxExpanded int64
	MaxRows                    int
}

// Read reads an attachment: XML as it is, in gzip, or alone in a zip file, told
// by its first octets. Rows go to each, if not nil, as they come, and not into
// the report's Records; an error of each ends the reading. Reports of RFC 7489
// are read as well. Memory does not depend on the report, but for a zip file,
// which is held as it came. Errors are r's and each's, ErrReport and
// ErrReportLimit. An unusual value is no error: what cannot be read is zero.
func (rd *Reader) Read(r io.Reader, each func(*Row) error) (*Aggregate, error) {
	most := orLimit(rd.MaxCompressed, DefaultMaxCompressed)
	in := &limited{r: r, left: most}
	head := make([]byte, 4)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	head = head[:n]
	whole := io.MultiReader(bytes.NewReader(head), in)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(whole)
		if err != nil {
			return nil, in.reportError(err)
		}
		return rd.expanded(in, z, each)
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		data, err := io.ReadAll(whole)
		if err != nil {
			return nil, err
		}
		return rd.zip(in, data, each)
	}
	return rd.expanded(in, whole, each)
}

// zip reads the one file in a zip file. What is inside of that is not opened.
func (rd *Reader) zip(in *limited, data []byte, each func(*Row) error) (*Aggregate, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, in.reportError(err)
	}
	var report *zip.File
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		if report != nil {
			return nil, fmt.Errorf("%w: several files in one", ErrReport)
		}
		report = f
	}
	if report == nil {
		return nil, fmt.Errorf("%w: no file in the zip file", ErrReport)
	}
	f, err := report.Open()
	if err != nil {
		return nil, in.reportError(err)
	}
	defer f.Close()
	return rd.expanded(in, f, each)
}

func (rd *Reader) expanded(in *limited, r io.Reader, each func(*Row) error) (*Aggregate, error) {
	p := &reportParser{in: in, each: each, rows: rd.MaxRows}
	if p.rows <= 0 {
		p.rows = DefaultMaxRows
	}
	p.d = xml.NewDecoder(&tokens{r: &limited{r: r, left: orLimit(rd.MaxExpanded, DefaultMaxExpanded)}})
	p.d.CharsetReader = fromCharset
	if err := p.run(); err != nil {
		return nil, err
	}
	return &p.a, nil
}

// fromCharset reads the charsets that reports come in beside UTF-8.
func fromCharset(label string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(label) {
	case "us-ascii", "ascii", "utf8":
		return r, nil
	case "iso-8859-1", "latin1", "windows-1252":
		return charmap.Windows1252.NewDecoder().Reader(r), nil
	}
	return nil, fmt.Errorf("%w: charset %.20q", ErrReport, label)
}

func orLimit(n, def int64) int64 {
	if n <= 0 {
		return def
	}
	return n
}

// reportError makes an error that the report has caused an ErrReport; those of
// the reader are kept.
func (l *limited) reportError(err error) error {
	if errors.Is(err, ErrReport) || l.err != nil && errors.Is(err, l.err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrReport, err)
}

// limited ends with ErrReportLimit instead of reading more.
type limited struct {
	r    io.Reader
	left int64
	err  error // of r, but for io.EOF
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		var one [1]byte // is there more?
		if n, err := l.r.Read(one[:]); n == 0 && err != nil {
			return 0, l.note(err)
		}
		return 0, ErrReportLimit
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, l.note(err)
}

func (l *limited) note(err error) error {
	if err != nil && err != io.EOF {
		l.err = err
	}
	return err
}

// tokens bounds what the XML decoder must hold: the octets from one "<" to the
// next, comments and the like being one. Declarations of types and entities are
// refused.
type tokens struct {
	r     io.Reader
	n     int    // octets of the token
	until string // what ends a comment or the like
	tail  [3]byte
	start []byte // what followed "<!", up to where it tells what it is
	bang  bool
}

func (t *tokens) Read(p []byte) (int, error) {
	n, err := t.r.Read(p[:min(len(p), 4096)])
	for _, c := range p[:n] {
		if e := t.take(c); e != nil {
			return 0, e
		}
	}
	return n, err
}

func (t *tokens) take(c byte) error {
	t.tail = [3]byte{t.tail[1], t.tail[2], c}
	if t.n++; t.n > maxReportToken {
		return fmt.Errorf("%w: a piece of it", ErrReportLimit)
	}
	switch {
	case t.until != "":
		if strings.HasSuffix(string(t.tail[:]), t.until) {
			t.until = ""
		}
	case t.bang:
		t.start = append(t.start, c)
		switch s := string(t.start); {
		case s == "--":
			t.until, t.bang = "-->", false
			t.tail = [3]byte{}
		case s == "[CDATA[":
			t.until, t.bang = "]]>", false
			t.tail = [3]byte{}
		case !strings.HasPrefix("--", s) && !strings.HasPrefix("[CDATA[", s):
			return fmt.Errorf("%w: it has declarations", ErrReport)
		}
	case c == '<':
		t.n = 0
	case t.tail[1] == '<' && c == '!':
		t.bang, t.start = true, t.start[:0]
	case t.tail[1] == '<' && c == '?':
		t.until = "?>"
	}
	return nil
}

// reportParser reads the elements of a report, wherever they are from.
type reportParser struct {
	d    *xml.Decoder
	in   *limited
	each func(*Row) error
	rows int // left
	a    Aggregate
	row  *Row
	path []string
	text strings.Builder
	seen bool // the root element
}

func (p *reportParser) run() error {
	for {
		tok, err := p.d.RawToken()
		if err == io.EOF && len(p.path) == 0 && p.seen {
			return nil
		}
		if err != nil {
			return p.in.reportError(err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			err = p.begin(t.Name.Local)
		case xml.EndElement:
			err = p.end(t.Name.Local)
		case xml.CharData:
			if room := maxReportText - p.text.Len(); room > 0 {
				p.text.Write(t[:min(len(t), room)])
			}
		}
		if err != nil {
			return err
		}
	}
}

func (p *reportParser) begin(name string) error {
	switch {
	case len(p.path) == 0 && (p.seen || name != "feedback"):
		return fmt.Errorf("%w: it is not about DMARC", ErrReport)
	case len(p.path) == maxReportDepth:
		return fmt.Errorf("%w: nested too deeply", ErrReportLimit)
	}
	p.seen = true
	p.path = append(p.path, name)
	p.text.Reset()
	switch strings.Join(p.path[1:], "/") {
	case "record":
		if p.rows--; p.rows < 0 {
			return fmt.Errorf("%w: rows", ErrReportLimit)
		}
		p.row = new(Row)
	case "record/auth_results/dkim":
		return appendTo(&p.row.Signatures, SignatureResult{})
	case "record/auth_results/spf":
		return appendTo(&p.row.Senders, SenderResult{})
	case "record/row/policy_evaluated/reason":
		return appendTo(&p.row.Overrides, Override{})
	}
	return nil
}

// appendTo appends within a row's bound.
func appendTo[T any](list *[]T, v T) error {
	if len(*list) == maxReportRow {
		return fmt.Errorf("%w: a row", ErrReportLimit)
	}
	*list = append(*list, v)
	return nil
}

func (p *reportParser) end(name string) error {
	if len(p.path) == 0 || p.path[len(p.path)-1] != name {
		return fmt.Errorf("%w: elements do not match", ErrReport)
	}
	path := strings.Join(p.path[1:], "/")
	p.path = p.path[:len(p.path)-1]
	value := strings.TrimSpace(p.text.String())
	p.text.Reset()
	switch {
	case path == "record":
		row := p.row
		p.row = nil
		if p.each != nil {
			return p.each(row)
		}
	case p.row != nil:
		p.inRow(strings.TrimPrefix(path, "record/"), value)
	default:
		p.outside(path, value)
	}
	return nil
}

// outside takes a value that is about the whole report.
func (p *reportParser) outside(path, value string) {
	a, pub := &p.a, &p.a.Published
	switch path {
	case "report_metadata/org_name":
		a.Org = value
	case "report_metadata/email":
		a.Email = value
	case "report_metadata/extra_contact_info":
		a.Contact = value
	case "report_metadata/report_id":
		a.ID = value
	case "report_metadata/date_range/begin":
		a.Begin = seconds(value)
	case "report_metadata/date_range/end":
		a.End = seconds(value)
	case "report_metadata/error":
		_ = appendTo(&a.Errors, value)
	case "report_metadata/generator":
		a.Generator = value
	case "policy_published/domain":
		pub.Domain = strings.ToLower(value)
	case "policy_published/discovery_method":
		pub.Method = value
	case "policy_published/p":
		pub.Policy = Policy(strings.ToLower(value))
	case "policy_published/sp":
		pub.Subdomains = Policy(strings.ToLower(value))
	case "policy_published/np":
		pub.NonExistent = Policy(strings.ToLower(value))
	case "policy_published/fo":
		pub.FailureOptions = value
	case "policy_published/adkim":
		pub.StrictDKIM = value == "s"
	case "policy_published/aspf":
		pub.StrictSPF = value == "s"
	case "policy_published/testing":
		pub.Testing = value == "y"
	}
}

// inRow takes a value of a row.
func (p *reportParser) inRow(path, value string) {
	r := p.row
	switch path {
	case "row/source_ip":
		r.Source, _ = netip.ParseAddr(value)
	case "row/count":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 {
			r.Count = n
		}
	case "row/policy_evaluated/disposition":
		r.Disposition = strings.ToLower(value)
	case "row/policy_evaluated/dkim":
		r.DKIM = strings.EqualFold(value, "pass")
	case "row/policy_evaluated/spf":
		r.SPF = strings.EqualFold(value, "pass")
	case "identifiers/header_from":
		r.HeaderFrom = value
	case "identifiers/envelope_from":
		r.EnvelopeFrom = value
	case "identifiers/envelope_to":
		r.EnvelopeTo = value
	default:
		p.result(path, value)
	}
}

// result takes a value of the last reason, signature or sender.
func (p *reportParser) result(path, value string) {
	r := p.row
	group, name, _ := cutLast(path)
	switch group {
	case "row/policy_evaluated/reason":
		o := &r.Overrides[len(r.Overrides)-1]
		set(name, value, map[string]*string{"type": &o.Type, "comment": &o.Comment})
	case "auth_results/dkim":
		s := &r.Signatures[len(r.Signatures)-1]
		set(name, value, map[string]*string{"domain": &s.Domain, "selector": &s.Selector, "result": &s.Result, "human_result": &s.Human})
	case "auth_results/spf":
		s := &r.Senders[len(r.Senders)-1]
		set(name, value, map[string]*string{"domain": &s.Domain, "scope": &s.Scope, "result": &s.Result, "human_result": &s.Human})
	}
}

func set(name, value string, fields map[string]*string) {
	if f := fields[name]; f != nil {
		*f = value
	}
}

func cutLast(path string) (before, after string, found bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

// seconds reads a time; zero if it cannot be one.
func seconds(value string) time.Time {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}
