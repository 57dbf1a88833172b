package wire

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var testLimits = Limits{UTF8: true, Nesting: 20, Ranges: 20, SearchTerms: 50, FetchItems: 20}

func parse(s string) *Parser { return NewParser([]byte(s), testLimits) }

// good runs a parser over arguments that must be well formed.
func good[T any](t *testing.T, args string, f func(*Parser) T) T {
	t.Helper()
	p := parse(args)
	v := f(p)
	require.NoError(t, p.End(), args)
	return v
}

func TestStrings(t *testing.T) {
	for in, want := range map[string]string{
		`abc`:                "abc",
		`a]b`:                "a]b",
		`""`:                 "",
		`"a b"`:              "a b",
		`"a\"b\\c"`:          `a"b\c`,
		`"\\"`:               `\`,
		"{3}\r\na\r\n":       "a\r\n",
		"{3+}\r\n\"x ":       `"x `,
		"{0}\r\n":            "",
		"~{2}\r\n\x00y":      "\x00y",
		"\"gr\u00fc\u00df\"": "gr\u00fc\u00df",
	} {
		p := parse(in)
		var got string
		if in[0] == '~' {
			got = p.String()
		} else {
			got = p.Astring()
		}
		assert.NoError(t, p.End(), "%q", in)
		assert.Equal(t, want, got)
	}
	for _, in := range []string{
		"", " ", "(", "a b", `"a`, `"a\`, `"a\b"`, "\"a\rb\"", "\"\xff\"", "{3}\r\nab", "{3}ab", "{a}\r\n", "{}\r\n", "{1}\r\n\x00", "{99999999999999999999999}\r\n", `a"b`, "\x7f", "{4294967296}\r\nx", "~{3}\r\nab",
	} {
		p := parse(in)
		p.Astring()
		assert.Error(t, p.End(), "%q", in)
	}
}

func TestNumbers(t *testing.T) {
	assert.EqualValues(t, 4294967295, good(t, "4294967295", (*Parser).Number))
	assert.EqualValues(t, uint64(1)<<63-1, good(t, "9223372036854775807", (*Parser).Number64))
	for _, in := range []string{"4294967296", "-1", "", "1x", "99999999999999999999999999"} {
		p := parse(in)
		p.Number()
		assert.Error(t, p.End(), in)
	}
	p := parse("9223372036854775808")
	p.Number64()
	assert.Error(t, p.Err())
}

func TestNumSet(t *testing.T) {
	set := good(t, "1,3:5,*,7:*,*:2,4294967295", (*Parser).NumSet)
	assert.Equal(t, []NumRange{{1, 1}, {3, 5}, {0, 0}, {7, 0}, {0, 2}, {4294967295, 4294967295}}, set.Ranges)
	assert.True(t, good(t, "$", (*Parser).NumSet).Saved)
	for _, in := range []string{"", "0", "1,", ",1", "1:", "1:0", "01", "1,,2", "$,1", "1:2:3", "4294967296", "**", "-1"} {
		p := parse(in)
		p.NumSet()
		assert.Error(t, p.End(), in)
	}
}

func TestNumSetWriter(t *testing.T) {
	var w NumSetWriter
	var b []byte
	for _, n := range []uint32{1, 2, 3, 5, 9, 10, 4, 4294967295} {
		b = w.Add(b, n)
	}
	assert.Equal(t, "1:3,5,9:10,4,4294967295", string(w.End(b)))
	assert.Equal(t, "", string(new(NumSetWriter).End(nil)))
}

func TestTrailingLiteral(t *testing.T) {
	for in, want := range map[string]Literal{
		"a {0}":                         {Size: 0, Sync: true},
		"{12+}":                         {Size: 12},
		"x ~{7}":                        {Size: 7, Sync: true, Binary: true},
		"x ~{7+}":                       {Size: 7, Binary: true},
		`"{5}`:                          {Size: 5, Sync: true},
		"{007}":                         {Size: 7, Sync: true},
		"a{4294967296+}":                {Size: 1 << 32},
		"a{99999999999999999999999999}": {Size: 1 << 63, Sync: true},
		"a{18446744073709551616}":       {Size: 1 << 63, Sync: true},
	} {
		lit, n := TrailingLiteral([]byte(in))
		assert.Equal(t, want, lit, in)
		assert.Equal(t, len(in)-strings.IndexAny(in, "~{"), n, in)
	}
	for _, in := range []string{"", "}", "{}", "{+}", "{1-}", "{1}x", "1}", "{1++}", "{ 1}"} {
		_, n := TrailingLiteral([]byte(in))
		assert.Zero(t, n, in)
	}
}

func TestTagAndCommand(t *testing.T) {
	p := parse("A.1] uid fetch 1 flags")
	assert.Equal(t, "A.1]", string(p.Tag()))
	p.Space()
	assert.Equal(t, "UID FETCH", p.Command())
	for _, in := range []string{"", "+ x", "* x", " a", `"a" x`, "(a", "a\x00", strings.Repeat("x", 256)} {
		p := parse(in)
		p.Tag()
		p.Space()
		assert.Error(t, p.Err(), "%q", in)
	}
}

func TestDates(t *testing.T) {
	d := good(t, `" 1-jan-2026 12:00:00 +0130"`, (*Parser).DateTime)
	assert.Equal(t, "2026-01-01T10:30:00Z", d.UTC().Format(time.RFC3339))
	for _, in := range []string{`"1-Jan-2026 12:00:00 +0000"`, `"32-Jan-2026 12:00:00 +0000"`, `"01-Jan-2026 12:00:00 0000"`, `"01-Jan-2026 25:00:00 +0000"`, `01-Jan-2026`, `"01-Jan-2026 12:00:00 +9999"`, `"01-Foo-2026 12:00:00 +0000"`, `""`} {
		p := parse(in)
		p.DateTime()
		if in == `"01-Jan-2026 12:00:00 +9999"` && p.Err() == nil {
			continue // what a zone may be is for package time to say
		}
		assert.Error(t, p.End(), in)
	}
	for _, in := range []string{`1-Feb-2026`, `01-FEB-2026`, `"1-feb-2026"`} {
		assert.Equal(t, "2026-02-01", good(t, in, (*Parser).date).Format(time.DateOnly))
	}
	for _, in := range []string{`30-Feb-2026`, `1-1-2026`, `Feb`, `--`, `"1-Feb-2026 "`, `1-Feb-26`} {
		p := parse(in)
		p.date()
		assert.Error(t, p.End(), in)
	}
	assert.Equal(t, `"02-Nov-2026 09:05:00 +0000"`, string(AppendInternalDate(nil, time.Date(2026, 11, 2, 9, 5, 0, 0, time.UTC))))
	assert.Equal(t, `"01-Jan-1970 00:00:00 +0000"`, string(AppendInternalDate(nil, time.Unix(1<<40, 0))))
}

func TestFetchItems(t *testing.T) {
	names := func(args string) (out []string) {
		for _, it := range good(t, args, (*Parser).Fetch).Items {
			out = append(out, it.Name)
		}
		return out
	}
	assert.Equal(t, []string{"BODY[]"}, names(" 1 BODY[]"))
	assert.Equal(t, []string{"BODY[]", "BODY[1.2.MIME]", "BODY[HEADER]<0>"}, names(" 1 (body.peek[] BODY[1.2.mime] BODY[HEADER]<0.4294967295>)"))
	assert.Equal(t, []string{`BODY[HEADER.FIELDS (From "X Y")]`}, names(` 1 BODY.PEEK[HEADER.FIELDS (From "X Y")]`))
	assert.Equal(t, []string{`BODY[3.HEADER.FIELDS.NOT (a)]<7>`}, names(" 1 BODY.PEEK[3.HEADER.FIELDS.NOT ({1}\r\na)]<7.1>"))
	assert.Equal(t, []string{"BINARY[1]<2>", "BINARY.SIZE[2]", "BINARY[]"}, names(" 1 (BINARY[1]<2.3> BINARY.SIZE[2] BINARY.PEEK[])"))
	assert.Equal(t, []string{"RFC822", "RFC822.HEADER", "RFC822.TEXT"}, names(" 1 (RFC822 RFC822.HEADER RFC822.TEXT)"))
	assert.Equal(t, []string{`BODY[HEADER.FIELDS ("From" To)]`}, names(` 1 body[header.fields ("From" To)]`), "as it was written")
	assert.Len(t, names(" 1:* FULL"), 5)
	c := good(t, " 1 (FLAGS) (CHANGEDSINCE 12)", (*Parser).Fetch)
	assert.True(t, c.Changed)
	assert.EqualValues(t, 12, c.ChangedSince)
	for _, in := range []string{
		" 1", " 1 ", " 1 ()", " 1 (ALL)", " 1 (FLAGS", " 1 FLAGS)", " 1 X", " 1 BODY[", " 1 BODY[]<", " 1 BODY[]<1>", " 1 BODY[]<1.0>", " 1 BODY[]<a.1>", " 1 BODY[0]", " 1 BODY[1.]", " 1 BODY[.1]", " 1 BODY[1HEADER]",
		" 1 BODY[MIME]", " 1 BODY[X]", " 1 BODY[HEADER.FIELDS]", " 1 BODY[HEADER.FIELDS ()]", " 1 BINARY[TEXT]", " 1 BINARY.SIZE[1]<1.2>", " 1 BODY.PEEK", " 1 BODY[]<1.18446744073709551616>", " 1 FLAGS (X 1)",
		" 1 FLAGS (CHANGEDSINCE 9223372036854775808)", " 1 FLAGS ()", " 0 FLAGS", " 1 (" + strings.Repeat("FLAGS ", 20) + "UID)", " 1 BODY[HEADER.FIELDS (" + strings.Repeat("a ", 20) + "b)]", " 1 (FLAGS  UID)",
	} {
		p := parse(in)
		p.Fetch()
		assert.Error(t, p.End(), in)
	}
}

func TestFetchModifiers(t *testing.T) {
	c := good(t, " 1:* PREVIEW (lazy)", (*Parser).Fetch)
	assert.Equal(t, []FetchItem{{Attr: FetchPreview, Name: "PREVIEW", Lazy: true}}, c.Items)
	c = good(t, " 1:* PREVIEW (PARTIAL -3:-1 CHANGEDSINCE 7)", (*Parser).Fetch)
	assert.False(t, c.Items[0].Lazy)
	assert.Equal(t, Page{From: 1, To: 3, Last: true, Turned: true}, c.Page)
	assert.EqualValues(t, 7, c.ChangedSince)
	c = good(t, " 1:* (PREVIEW (LAZY) SAVEDATE EMAILID THREADID) (PARTIAL 5:4)", (*Parser).Fetch)
	assert.Len(t, c.Items, 4)
	assert.Equal(t, Page{From: 4, To: 5, Turned: true}, c.Page)
	for _, in := range []string{
		" 1 PREVIEW (LAZY", " 1 PREVIEW (LAZYX)", " 1 PREVIEW(LAZY)", " 1 (PREVIEW (LAZY)", " 1 (PREVIEW (X))", " 1 PREVIEW ()", " 1 FLAGS (PARTIAL 1:*)", " 1 FLAGS (PARTIAL 1:-1)",
		" 1 FLAGS (PARTIAL 0:1)", " 1 FLAGS (PARTIAL 1)", " 1 FLAGS (PARTIAL 1:2 PARTIAL 1:2)", " 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 1)", " 1 FLAGS (PARTIAL --1:-2)",
	} {
		p := parse(in)
		p.Fetch()
		assert.Error(t, p.End(), in)
	}
	off := testLimits
	off.Off = map[string]bool{"PREVIEW": true, "SAVEDATE": true, "OBJECTID": true, "PARTIAL": true, "CONDSTORE": true, "BINARY": true}
	for in, fine := range map[string]bool{
		" 1 PREVIEW": false, " 1 SAVEDATE": false, " 1 EMAILID": false, " 1 THREADID": false, " 1 MODSEQ": false, " 1 FLAGS (PARTIAL 1:1)": false, " 1 FLAGS (CHANGEDSINCE 1)": false,
		" 1 BINARY[1]": true, " 1 (FLAGS UID)": true,
	} {
		p := NewParser([]byte(in), off)
		p.Fetch()
		assert.Equal(t, fine, p.End() == nil, in)
	}
	off.Off["IMAP4REV2"] = true
	p := NewParser([]byte(" 1 BINARY.SIZE[1]"), off)
	p.Fetch()
	assert.Error(t, p.End())
}

func TestPageOf(t *testing.T) {
	for _, c := range []struct {
		page     Page
		n        int
		from, to int
	}{
		{Page{From: 1, To: 3}, 10, 0, 3}, {Page{From: 1, To: 3}, 2, 0, 2}, {Page{From: 3, To: 4}, 2, 0, 0}, {Page{From: 1, To: 3, Last: true}, 10, 7, 10},
		{Page{From: 2, To: 1<<32 - 1, Last: true}, 10, 0, 9}, {Page{From: 11, To: 12, Last: true}, 10, 0, 0}, {Page{From: 1, To: 1}, 0, 0, 0}, {Page{}, 5, 0, 0},
	} {
		from, to := c.page.Of(c.n)
		assert.Equal(t, [2]int{c.from, c.to}, [2]int{from, to}, "%+v of %d", c.page, c.n)
	}
}

func TestSearchKeys(t *testing.T) {
	c := good(t, ` RETURN (MIN COUNT SAVE) CHARSET utf-8 OR (1:3 UNSEEN) NOT FROM "x y" UID $ MODSEQ "/flags/\\Seen" all 7 HEADER X-A {2}`+"\r\nhi", (*Parser).Search)
	assert.Equal(t, ReturnMin|ReturnCount|ReturnSave, c.Return)
	assert.Equal(t, "UTF-8", c.Charset)
	assert.True(t, c.Extended && c.ModSeq && c.Saved && c.Numbers)
	require.Len(t, c.Keys, 4)
	assert.Equal(t, SearchOr, c.Keys[0].Op)
	assert.Equal(t, SearchAnd, c.Keys[0].Keys[0].Op)
	assert.Equal(t, SearchKey{Op: SearchHeader, Text: "FROM", Value: "x y"}, c.Keys[0].Keys[1].Keys[0])
	assert.Equal(t, SearchKey{Op: SearchHeader, Text: "X-A", Value: "hi"}, c.Keys[3])
	assert.Equal(t, ReturnAll, good(t, " RETURN () ALL", (*Parser).Search).Return)
	for _, in := range []string{
		"", " ", " X", " ()", " (ALL", " ALL)", " NOT", " OR ALL", " OR ALL NOT", " RETURN ALL", " RETURN (X) ALL", " CHARSET", " FROM", " KEYWORD", " LARGER x", " BEFORE x", " MODSEQ", ` MODSEQ "x" y 1`,
		" MODSEQ 9223372036854775808", " UID", " UID ALL", " HEADER a", " 0", " 1:", " ALL  ALL", " " + strings.Repeat("(", 30) + "ALL" + strings.Repeat(")", 30),
		strings.Repeat(" ALL", 51), " " + strings.Repeat("NOT ", 30) + "ALL", " " + strings.Repeat("(", 100000), " " + strings.Repeat("OR ", 100000),
	} {
		p := parse(in)
		p.Search()
		assert.Error(t, p.End(), "%.40q", in)
	}
}

func TestOtherCommands(t *testing.T) {
	assert.Equal(t, Store{Set: NumSet{Ranges: []NumRange{{1, 1}}}, Op: StoreAdd, Silent: true, Flags: []string{`\Seen`, "$x"}, Unchanged: true, UnchangedSince: 5},
		good(t, ` 1 (UNCHANGEDSINCE 5) +FLAGS.SILENT (\Seen $x)`, (*Parser).Store))
	assert.Equal(t, []string{"a", `\b`}, good(t, ` 1 FLAGS a \b`, (*Parser).Store).Flags)
	assert.Equal(t, Select{Mailbox: "x", CondStore: true}, good(t, " x (CONDSTORE)", (*Parser).Select))
	assert.Equal(t, Create{Mailbox: "x", SpecialUse: []string{`\Sent`}}, good(t, ` x (USE (\Sent))`, (*Parser).Create))
	assert.Equal(t, Rename{"a b", "c"}, good(t, ` "a b" c`, (*Parser).Rename))
	assert.Equal(t, StatusMessages|StatusSize, good(t, ` x (SIZE messages)`, (*Parser).Status).Items)
	assert.Equal(t, List{Select: ListSubscribed | ListRecursiveMatch, Return: ListChildren | ListStatus, Status: StatusUnseen, Reference: "r", Patterns: []string{"a%", "*"}, Extended: true},
		good(t, ` (SUBSCRIBED RECURSIVEMATCH) "r" (a% "*") RETURN (CHILDREN STATUS (UNSEEN))`, (*Parser).List))
	assert.Equal(t, []string{"IMAP4REV2", "X"}, good(t, " imap4rev2 x", (*Parser).Enable))
	assert.Equal(t, []IDField{{"name", "x"}, {"v", ""}}, good(t, ` ("name" "x" "v" NIL)`, (*Parser).ID))
	assert.Nil(t, good(t, ` nil`, (*Parser).ID))
	assert.Equal(t, Authenticate{Mechanism: "PLAIN", Initial: "=", HasInitial: true}, good(t, " plain =", (*Parser).Authenticate))
	for name, f := range map[string]func(*Parser){
		" 1 FLAGS":                     func(p *Parser) { p.Store() },
		" 1 +FLAGS.SILENT":             func(p *Parser) { p.Store() },
		" 1 (UNCHANGEDSINCE) FLAGS ()": func(p *Parser) { p.Store() },
		" 1 (X 1) FLAGS ()":            func(p *Parser) { p.Store() },
		` 1 FLAGS (\*)`:                func(p *Parser) { p.Store() },
		" x ()":                        func(p *Parser) { p.Select() },
		" x (Y)":                       func(p *Parser) { p.Create() },
		" x ":                          func(p *Parser) { p.Status() },
		" x ( )":                       func(p *Parser) { p.Status() },
		" x (FOO)":                     func(p *Parser) { p.Status() },
		` (RECURSIVEMATCH) "" "*"`:     func(p *Parser) { p.List() },
		` "" "*" RETURN`:               func(p *Parser) { p.List() },
		` "" "*" X`:                    func(p *Parser) { p.List() },
		` (FOO) "" "*"`:                func(p *Parser) { p.List() },
		` "" (` + strings.Repeat("a ", 70) + `b)`: func(p *Parser) { p.List() },
		"":       func(p *Parser) { p.Enable() },
		` ("a")`: func(p *Parser) { p.ID() },
		` ("` + strings.Repeat("n", 31) + `" "x")`:         func(p *Parser) { p.ID() },
		` (` + strings.Repeat(`"n" "v" `, 30) + `"n" "v")`: func(p *Parser) { p.ID() },
	} {
		p := parse(name)
		f(p)
		assert.Error(t, p.End(), "%.60q", name)
	}
}

// commandParsers are all parsers of arguments by command.
var commandParsers = map[string]func(*Parser){
	"LOGIN":        func(p *Parser) { p.Login() },
	"AUTHENTICATE": func(p *Parser) { p.Authenticate() },
	"COMPRESS":     func(p *Parser) { p.Compress() },
	"ENABLE":       func(p *Parser) { p.Enable() },
	"ID":           func(p *Parser) { p.ID() },
	"SELECT":       func(p *Parser) { p.Select() },
	"CREATE":       func(p *Parser) { p.Create() },
	"RENAME":       func(p *Parser) { p.Rename() },
	"STATUS":       func(p *Parser) { p.Status() },
	"LIST":         func(p *Parser) { p.List() },
	"LSUB":         func(p *Parser) { p.Lsub() },
	"APPEND":       appendAll,
	"REPLACE":      func(p *Parser) { p.One(); appendAll(p) },
	"RESETKEY":     func(p *Parser) { p.ResetKey() },
	"GENURLAUTH":   func(p *Parser) { p.GenURLAuth() },
	"URLFETCH":     func(p *Parser) { p.URLFetch() },
	"FETCH":        func(p *Parser) { p.Fetch() },
	"STORE":        func(p *Parser) { p.Store() },
	"SEARCH":       func(p *Parser) { p.Search() },
	"ESEARCH":      func(p *Parser) { p.MultiSearch() },
	"CANCELUPDATE": func(p *Parser) { p.CancelUpdate() },
	"SORT":         func(p *Parser) { p.Sort() },
	"THREAD":       func(p *Parser) { p.Thread() },
	"COPY":         func(p *Parser) { p.Copy() },
	"UID EXPUNGE":  func(p *Parser) { p.UIDs() },
	"SETACL":       func(p *Parser) { p.SetACL() },
	"LISTRIGHTS":   func(p *Parser) { p.DeleteACL() },
	"SETQUOTA":     func(p *Parser) { p.SetQuota() },
	"GETMETADATA":  func(p *Parser) { p.GetMetadata() },
	"SETMETADATA":  func(p *Parser) { p.SetMetadata() },
	"UIDBATCHES":   func(p *Parser) { p.UIDBatches() },
	"NOTIFY":       func(p *Parser) { p.Notify() },
}

// appendAll goes all steps of an APPEND whose literals are not cut.
func appendAll(p *Parser) {
	a := NewAppend(p)
	all := p.b
	if i := bytes.Index(all, []byte("\r\n")); i >= 0 {
		p.b, all = all[:i], all[i+2:]
	} else {
		all = nil
	}
	for steps := 0; steps < 10_000; steps++ {
		step := a.Next()
		switch step {
		case StepFailed, StepEnd:
			return
		case StepString, StepText:
			if a.Literal.Size > uint64(len(all)) {
				p.fail("Literal is cut short")
				return
			}
			text := all[:a.Literal.Size]
			line, rest, _ := bytes.Cut(all[a.Literal.Size:], []byte("\r\n"))
			all = rest
			if step == StepString {
				a.Supply(string(text), line)
			} else {
				a.Line(line)
			}
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		"a NOTIFY NONE", "a NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (To)]) MessageExpunge)) (subtree (a {1+}\r\nb) NONE) (personal (MailboxName x))",
		"a LOGIN x \"y\\\"\"", "a AUTHENTICATE PLAIN =", "a SELECT \"x\" (CONDSTORE)", "a APPEND {1}\r\nx (\\Seen) \"01-Jan-2026 12:00:00 +0000\" {4+}\r\n",
		"a UID FETCH 1:*,$ (BODY.PEEK[1.2.HEADER.FIELDS (a b)]<0.1> BINARY[1] FLAGS) (CHANGEDSINCE 4)", "a FETCH 1 PREVIEW (LAZY) (PARTIAL -1:-2)", "a FETCH 1 (PREVIEW (LAZY) EMAILID)", "a STORE 1 (UNCHANGEDSINCE 3) -FLAGS.SILENT (\\Seen a)",
		"a SEARCH RETURN (ALL) CHARSET UTF-8 OR NOT (1 UID 2) MODSEQ \"/flags/x\" priv 3 SINCE 1-Jan-2026 HEADER a ~{1}\r\n\x00", "a LIST (SUBSCRIBED) \"\" (%* x) RETURN (STATUS (SIZE))",
		"a ID (\"a\" NIL)", "a COMPRESS DEFLATE", "a STATUS x (MESSAGES)", "a COPY 5:1 x", "a UID EXPUNGE 1,2", "a UID REPLACE 1 x {1}\r\ny", "a RESETKEY x INTERNAL", "a GENURLAUTH \"imap://a@h/x/;UID=1;URLAUTH=anonymous\" INTERNAL", "a URLFETCH x y",
		"a ID (\"a\" NIL)", "a STATUS x (MESSAGES)", "a COPY 5:1 x", "a UID EXPUNGE 1,2",
		"a ID (\"a\" NIL)", "a ESEARCH IN (mailboxes (x y) subtree-one z personal) RETURN (MIN UPDATE) OLDER 5 FILTER x", "a CANCELUPDATE \"t\"", "a STATUS x (MESSAGES)", "a COPY 5:1 x", "a UID EXPUNGE 1,2", "a UID REPLACE 1 x {1}\r\ny", "a RESETKEY x INTERNAL", "a GENURLAUTH \"imap://a@h/x/;UID=1;URLAUTH=anonymous\" INTERNAL", "a URLFETCH x y",
		"a ID (\"a\" NIL)", "a ESEARCH IN (mailboxes (x y) subtree-one z personal) RETURN (MIN UPDATE) OLDER 5 FILTER x", "a CANCELUPDATE \"t\"", "a STATUS x (MESSAGES)", "a COPY 5:1 x", "a UID EXPUNGE 1,2",
		"a SORT RETURN (MIN COUNT) (REVERSE DATE DISPLAYFROM) UTF-8 1:3 TEXT x", "a UID THREAD REFERENCES \"utf-8\" OR SEEN (1,$)",
		"a APPEND x (a) {2+}\r\nhi \"01-Jan-2026 12:00:00 +0000\" CATENATE (URL {1}\r\n/ TEXT ~{1+}\r\nx URL y) UTF8 (~{1}\r\nz)", "a CREATE x (USE (\\Sent))",
		"a SELECT x (QRESYNC (7 8 1:3,9 (1,2:3 4:6)) CONDSTORE)", "a UIDBATCHES 500 1:3", "a UID FETCH 1 (FLAGS) (CHANGEDSINCE 4 VANISHED)",
		"a SETACL x bob +lr", "a LISTRIGHTS x -bob", "a SETQUOTA \"\" (STORAGE 512 MESSAGE 1)", "a GETMETADATA (DEPTH 1) x (/private/a /shared/b)",
		"a GETMETADATA x (MAXSIZE 5 DEPTH infinity) /shared", "a SETMETADATA \"\" (/private/a NIL /shared/b ~{1+}\r\n\x00)",
		"a LIST () \"\" * RETURN (MYRIGHTS METADATA (/shared/a /private/b) STATUS (MAILBOXID DELETED-STORAGE))",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := NewParser(b, testLimits)
		p.Tag()
		p.Space()
		name := p.Command()
		if run := commandParsers[strings.TrimPrefix(name, "UID ")]; run != nil {
			run(p)
		}
		err := p.End()
		if p.i > len(p.b) {
			t.Fatal("read beyond the command")
		}
		if err != nil {
			// Nothing the client sent may be in the text.
			if strings.ContainsAny(err.Error(), "\r\n\x00") || len(err.Error()) > 80 {
				t.Fatalf("%q", err)
			}
		}
	})
}
