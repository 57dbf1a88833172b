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
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sample() *Aggregate {
	return &Aggregate{
		Org: "Receiver <& Co>", Email: "dmarc@r.example", Contact: "https://r.example/?a=1&b=2", ID: "2026.11.23.1",
		Begin: time.Unix(1_795_305_600, 0).UTC(), End: time.Unix(1_795_391_999, 0).UTC(), Errors: []string{"two records", "none"}, Generator: "Posta",
		Published: Published{Domain: "a.example", Method: "treewalk", Policy: Reject, Subdomains: Quarantine, NonExistent: None, StrictDKIM: true, Testing: true, FailureOptions: "1:d"},
		Records: []Row{
			{Source: netip.MustParseAddr("192.0.2.1"), Count: 12, Disposition: "pass", DKIM: true, SPF: true, HeaderFrom: "a.example", EnvelopeFrom: "b.a.example",
				Signatures: []SignatureResult{{"a.example", "k", "pass", ""}, {"x.example", "s", "fail", "body hash <>"}},
				Senders:    []SenderResult{{"b.a.example", "mfrom", "pass", ""}, {"mx.a.example", "helo", "none", ""}}},
			{Source: netip.MustParseAddr("2001:db8::1"), Count: 1, Disposition: "none", HeaderFrom: "é.a.example", EnvelopeTo: "r.example",
				Overrides: []Override{{"policy_test_mode", ""}, {"local_policy", "arc=pass"}},
				Senders:   []SenderResult{{"evil.example", "mfrom", "softfail", "not listed"}}},
		},
	}
}

func read(t *testing.T, data []byte) (*Aggregate, error) {
	t.Helper()
	var rows []Row
	a, err := new(Reader).Read(iotest.OneByteReader(bytes.NewReader(data)), func(r *Row) error {
		rows = append(rows, *r)
		return nil
	})
	if a != nil {
		a.Records = rows
	}
	return a, err
}

func TestAggregateRoundTrip(t *testing.T) {
	a := sample()
	var plain, packed, again, zipped bytes.Buffer
	require.NoError(t, a.WriteXML(&plain))
	require.NoError(t, a.WriteGzip(&packed))
	require.NoError(t, a.WriteGzip(&again))
	assert.Equal(t, packed.Bytes(), again.Bytes())
	z := zip.NewWriter(&zipped)
	_, err := z.Create("reports/")
	require.NoError(t, err)
	f, err := z.Create("reports/x.xml")
	require.NoError(t, err)
	_, err = f.Write(plain.Bytes())
	require.NoError(t, err)
	require.NoError(t, z.Close())
	for name, data := range map[string][]byte{"plain": plain.Bytes(), "gzip": packed.Bytes(), "zip": zipped.Bytes()} {
		got, err := read(t, data)
		require.NoError(t, err, name)
		assert.Equal(t, a, got, name)
	}
	assert.NoError(t, xml.Unmarshal(plain.Bytes(), new(struct{})))
	assert.Equal(t, "r.example!a.example!1795305600!1795391999!2026.11.23.1.xml.gz", a.Filename("r.exa\r\nmple"))
	assert.Equal(t, "Report Domain: a.example Submitter: r.example Report-ID: 2026.11.23.1", a.Subject("r.example\r\n"))
}

// TestAggregateOctets has what XML cannot hold, in a value that a stranger chose.
func TestAggregateOctets(t *testing.T) {
	for value, want := range map[string]string{
		"a<b>&\"'": "a<b>&\"'", "a\x00b": "a\ufffdb", "a\x1fb": "a\ufffdb", "a\xffb": "a\ufffdb", "]]>": "]]>", "\u00e9\u2028x": "\u00e9\u2028x", "a\tb~": "a\tb~",
	} {
		a := sample()
		a.Records = a.Records[:1]
		a.Records[0].HeaderFrom = value
		var b bytes.Buffer
		require.NoError(t, a.WriteXML(&b))
		var got string
		_, err := new(Reader).Read(&b, func(r *Row) error { got = r.HeaderFrom; return nil })
		require.NoError(t, err, "%q", value)
		assert.Equal(t, want, got, "%q", value)
	}
}

func TestAggregateWriteErrors(t *testing.T) {
	for name, change := range map[string]func(*Aggregate){
		"domain": func(a *Aggregate) { a.Published.Domain = "" }, "id": func(a *Aggregate) { a.ID = "" }, "org": func(a *Aggregate) { a.Org = "" },
		"email": func(a *Aggregate) { a.Email = "" }, "time": func(a *Aggregate) { a.End = a.Begin }, "policy": func(a *Aggregate) { a.Published.Policy = "" },
	} {
		a := sample()
		change(a)
		assert.ErrorIs(t, a.WriteGzip(io.Discard), ErrReport, name)
	}
	assert.ErrorIs(t, sample().WriteXML(failing{}), errFailing)
	assert.ErrorIs(t, sample().WriteGzip(failing{}), errFailing)
}

var errFailing = errors.New("failing")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFailing }

// old is a report as RFC 7489 had them.
const old = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<!-- a comment <with> tags -->
<feedback>
  <report_metadata><org_name>M` + "\xfc" + `ller</org_name><email>x@y</email><report_id><![CDATA[<1>]]></report_id>
    <date_range><begin>1795305600</begin><end>x</end></date_range></report_metadata>
  <policy_published><domain>A.example</domain><adkim>r</adkim><p>REJECT</p><pct>100</pct></policy_published>
  <record><row><source_ip>192.0.2.1</source_ip><count>-3</count><policy_evaluated><disposition>none</disposition><dkim>PASS</dkim></policy_evaluated></row>
    <identifiers><header_from> a.example </header_from></identifiers><auth_results><spf><domain>a.example</domain><result>pass</result></spf></auth_results></record>
</feedback>
`

func TestAggregateOld(t *testing.T) {
	a, err := read(t, []byte(old))
	require.NoError(t, err)
	assert.Equal(t, "Müller", a.Org)
	assert.Equal(t, "<1>", a.ID)
	assert.Equal(t, Reject, a.Published.Policy)
	assert.Equal(t, "a.example", a.Published.Domain)
	assert.True(t, a.End.IsZero())
	require.Len(t, a.Records, 1)
	assert.Equal(t, Row{Source: netip.MustParseAddr("192.0.2.1"), Disposition: "none", DKIM: true, HeaderFrom: "a.example", Senders: []SenderResult{{Domain: "a.example", Result: "pass"}}}, a.Records[0])
}

func gzipped(write func(w io.Writer)) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	write(z)
	z.Close()
	return b.Bytes()
}

// many writes text again and again.
func many(w io.Writer, text string, octets int) {
	block := []byte(strings.Repeat(text, (1<<20)/len(text)+1))
	for n := 0; n < octets; n += len(block) {
		w.Write(block)
	}
}

// TestAggregateBombs has what a stranger may send: a named error, and memory
// and time that do not depend on it.
func TestAggregateBombs(t *testing.T) {
	const head = "<feedback>"
	huge := 5 << 20
	block := gzipped(func(w io.Writer) { many(w, " ", 16<<20) })
	inner := gzipped(func(w io.Writer) { many(w, "\x00", 1<<20) })
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"ten gigabytes of nothing": {bytes.Repeat(block, 640), ErrReportLimit},
		"many rows":                {gzipped(func(w io.Writer) { io.WriteString(w, head); many(w, "<record></record>", huge) }), ErrReportLimit},
		"much text":                {gzipped(func(w io.Writer) { io.WriteString(w, head); many(w, "x", huge) }), ErrReportLimit},
		"much comment":             {gzipped(func(w io.Writer) { io.WriteString(w, head+"<!--"); many(w, "<x>", huge) }), ErrReportLimit},
		"much CDATA":               {gzipped(func(w io.Writer) { io.WriteString(w, head+"<![CDATA["); many(w, "<x>", huge) }), ErrReportLimit},
		"much PI":                  {gzipped(func(w io.Writer) { io.WriteString(w, head+"<?x "); many(w, "<x>", huge) }), ErrReportLimit},
		"much attribute":           {gzipped(func(w io.Writer) { io.WriteString(w, head+`<x a="`); many(w, ">y", huge) }), ErrReportLimit},
		"deep":                     {[]byte(head + strings.Repeat("<a>", 1000)), ErrReportLimit},
		"a row without end":        {gzipped(func(w io.Writer) { io.WriteString(w, head+"<record><auth_results>"); many(w, "<dkim></dkim>", 1<<20) }), ErrReportLimit},
		"entities":                 {[]byte(`<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>` + head + "&b;</feedback>"), ErrReport},
		"external entity":          {[]byte(`<!DOCTYPE x SYSTEM "file:///etc/passwd">` + head + "</feedback>"), ErrReport},
		"unknown entity":           {[]byte(head + "&b;</feedback>"), ErrReport},
		"gzip in gzip":             {gzipped(func(w io.Writer) { w.Write(inner) }), ErrReport},
		"zip of zips":              {zipOf(map[string][]byte{"a.zip": zipOf(map[string][]byte{"b.zip": inner})}), ErrReport},
		"many files":               {zipOf(map[string][]byte{"a.xml": []byte(old), "b.xml": []byte(old)}), ErrReport},
		"empty zip":                {append([]byte("PK\x03\x04"), zipOf(nil)...), ErrReport},
		"too large":                {append([]byte("<feedback>"), bytes.Repeat([]byte(" <a/>"), 1<<20)...), ErrReportLimit},
		"cut gzip":                 {gzipped(func(w io.Writer) { io.WriteString(w, old) })[:50], ErrReport},
		"broken gzip":              {append(gzipped(func(w io.Writer) { io.WriteString(w, old) })[:40], bytes.Repeat([]byte("x"), 100)...), ErrReport},
		"cut XML":                  {[]byte(old[:400]), ErrReport},
		"empty":                    {nil, ErrReport},
		"three octets":             {[]byte("PK\x03"), ErrReport},
		"HTML":                     {[]byte("<html><body></body></html>"), ErrReport},
		"two roots":                {[]byte("<feedback></feedback><feedback></feedback>"), ErrReport},
		"crossed":                  {[]byte("<feedback><a></b></feedback>"), ErrReport},
		"charset":                  {[]byte(`<?xml version="1.0" encoding="utf-7"?><feedback></feedback>`), ErrReport},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			rows := 0
			_, err := (&Reader{MaxExpanded: 4 << 20, MaxRows: 10_000}).Read(bytes.NewReader(c.data), func(*Row) error { rows++; return nil })
			runtime.ReadMemStats(&after)
			assert.ErrorIs(t, err, c.want)
			assert.LessOrEqual(t, rows, 10_000)
			if len(c.data) < 4<<20 {
				assert.Less(t, after.HeapSys, before.HeapSys+64<<20)
			}
		})
	}
}

func zipOf(files map[string][]byte) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range files {
		f, _ := z.Create(name)
		f.Write(data)
	}
	z.Close()
	return b.Bytes()
}

func TestAggregateLimits(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sample().WriteXML(&b))
	size := int64(b.Len())
	for _, c := range []struct {
		rd   Reader
		want error
	}{
		{Reader{MaxCompressed: size, MaxExpanded: size, MaxRows: 2}, nil},
		{Reader{MaxCompressed: size - 1}, ErrReportLimit},
		{Reader{MaxExpanded: size - 1}, ErrReportLimit},
		{Reader{MaxRows: 1}, ErrReportLimit},
	} {
		_, err := c.rd.Read(bytes.NewReader(b.Bytes()), nil)
		assert.ErrorIs(t, err, c.want, "%+v", c.rd)
	}
	stop := errors.New("stop")
	_, err := new(Reader).Read(bytes.NewReader(b.Bytes()), func(*Row) error { return stop })
	assert.ErrorIs(t, err, stop)
	_, err = new(Reader).Read(iotest.ErrReader(stop), nil)
	assert.ErrorIs(t, err, stop)
	_, err = new(Reader).Read(io.MultiReader(strings.NewReader("<feedback>"), iotest.ErrReader(stop)), nil)
	assert.ErrorIs(t, err, stop)
}

func FuzzAggregate(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, sample().WriteXML(&b))
	f.Add(b.Bytes())
	f.Add([]byte(old))
	f.Add(gzipped(func(w io.Writer) { io.WriteString(w, old) }))
	f.Add(zipOf(map[string][]byte{"a.xml": []byte(old)}))
	rd := &Reader{MaxCompressed: 1 << 20, MaxExpanded: 1 << 20, MaxRows: 100}
	f.Fuzz(func(t *testing.T, data []byte) {
		var rows []Row
		a, err := rd.Read(bytes.NewReader(data), func(r *Row) error { rows = append(rows, *r); return nil })
		if err != nil {
			require.ErrorIs(t, err, ErrReport)
			return
		}
		a.Records = rows
		var out bytes.Buffer
		if a.WriteXML(&out) != nil {
			return
		}
		again, err := read(t, out.Bytes())
		require.NoError(t, err, "%s", out.Bytes())
		require.Equal(t, len(rows), len(again.Records))
		require.Equal(t, strings.TrimSpace(a.ID) == "", again.ID == "")
	})
}

func ExampleReader() {
	var attachment bytes.Buffer
	if err := sample().WriteGzip(&attachment); err != nil {
		fmt.Println(err)
	}
	a, err := new(Reader).Read(&attachment, func(r *Row) error {
		fmt.Println(r.Count, "from", r.Source, r.Disposition)
		return nil
	})
	fmt.Println(a.Published.Domain, a.Published.Policy, err)
	// Output:
	// 12 from 192.0.2.1 pass
	// 1 from 2001:db8::1 none
	// a.example reject <nil>
}
