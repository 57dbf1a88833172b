package message_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
)

func addr(name, mailbox, host string) message.Address {
	return message.Address{Name: name, RawName: name, Mailbox: mailbox, Host: host}
}

func TestParseAddressList(t *testing.T) {
	end := message.Address{}
	group := func(name string) message.Address { return message.Address{Name: name, RawName: name, Mailbox: name} }
	for _, c := range []struct {
		name, in string
		want     []message.Address
	}{
		// RFC 5322 appendix A.
		{"A.1.1", `John Doe <jdoe@machine.example>`, []message.Address{addr("John Doe", "jdoe", "machine.example")}},
		{"A.1.2 from", `"Joe Q. Public" <john.q.public@example.com>`, []message.Address{addr("Joe Q. Public", "john.q.public", "example.com")}},
		{"A.1.2 to", `Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>`,
			[]message.Address{addr("Mary Smith", "mary", "x.test"), addr("", "jdoe", "example.org"), addr("Who?", "one", "y.test")}},
		{"A.1.2 cc", `<boss@nil.test>, "Giant; \"Big\" Box" <sysservices@example.net>`,
			[]message.Address{addr("", "boss", "nil.test"), addr(`Giant; "Big" Box`, "sysservices", "example.net")}},
		{"A.1.3 to", `A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;`,
			[]message.Address{group("A Group"), addr("Ed Jones", "c", "a.test"), addr("", "joe", "where.test"), addr("John", "jdoe", "one.test"), end}},
		{"A.1.3 cc", `Undisclosed recipients:;`, []message.Address{group("Undisclosed recipients"), end}},
		{"A.5 from", `Pete(A nice \) chap) <pete(his account)@silly.test(his host)>`, []message.Address{addr("Pete", "pete", "silly.test")}},
		{"A.5 to", `A Group(Some people)     :Chris Jones <c@(Chris's host.)public.example>,         joe@example.org,  John <jdoe@one.test> (my dear friend); (the end of the group)`,
			[]message.Address{group("A Group"), addr("Chris Jones", "c", "public.example"), addr("", "joe", "example.org"), addr("John", "jdoe", "one.test"), end}},
		{"A.5 cc", `(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;`, []message.Address{group("Hidden recipients"), end}},
		{"A.6.1 from", `Joe Q. Public <john.q.public@example.com>`, []message.Address{addr("Joe Q. Public", "john.q.public", "example.com")}},
		{"A.6.1 to", `Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example`,
			[]message.Address{{Name: "Mary Smith", RawName: "Mary Smith", Mailbox: "mary", Host: "example.net", Route: "@node.test"}, addr("", "jdoe", "test.example")}},
		{"A.6.3", `John Doe <jdoe@machine(comment).  example>`, []message.Address{addr("John Doe", "jdoe", "machine.example")}},
		// Quoting and literals.
		{"quoted local part", `"john doe"@example.org`, []message.Address{addr("", "john doe", "example.org")}},
		{"quoted with dot", `"a"."b"@example.org`, []message.Address{addr("", "a.b", "example.org")}},
		{"spaces at dots", `a . b @ example.org`, []message.Address{addr("", "a.b", "example.org")}},
		{"literal", `a@[192.0.2.1], b@[IPv6:2001:db8::1]`, []message.Address{addr("", "a", "[192.0.2.1]"), addr("", "b", "[IPv6:2001:db8::1]")}},
		{"empty name", `"" <a@example.org>`, []message.Address{addr("", "a", "example.org")}},
		{"comma in quotes", `"a, b" <c@d.example>`, []message.Address{addr("a, b", "c", "d.example")}},
		{"comment as name", `a@example.org (Alice (at home))`, []message.Address{addr("Alice (at home)", "a", "example.org")}},
		{"route of several", `<@a.test,@b.test:c@d.example>`, []message.Address{{Mailbox: "c", Host: "d.example", Route: "@a.test,@b.test"}}},
		{"case kept", `Ab@Example.ORG`, []message.Address{addr("", "Ab", "Example.ORG")}},
		{"long dots are one name", `J... D. <a@b.example>`, []message.Address{addr("J... D.", "a", "b.example")}},
		// RFC 6532.
		{"UTF-8", `Jürgen <jürgen@müller.example>`, []message.Address{addr("Jürgen", "jürgen", "müller.example")}},
		// RFC 2047.
		{"encoded name", `=?iso-8859-1?q?J=FCrgen?= =?utf-8?b?TcO8bGxlcg==?= <j@example.org>`,
			[]message.Address{{Name: "JürgenMüller", RawName: "=?iso-8859-1?q?J=FCrgen?= =?utf-8?b?TcO8bGxlcg==?=", Mailbox: "j", Host: "example.org"}}},
		{"not inside quotes", `"=?utf-8?q?x?=" <j@example.org>`, []message.Address{addr("=?utf-8?q?x?=", "j", "example.org")}},
		{"quotes and words mixed", `=?utf-8?q?=C3=A4?= "=?utf-8?q?x?=" y <j@example.org>`,
			[]message.Address{{Name: "ä =?utf-8?q?x?= y", RawName: "=?utf-8?q?=C3=A4?= =?utf-8?q?x?= y", Mailbox: "j", Host: "example.org"}}},
		{"not in the address", `<=?utf-8?q?x?=@example.org>`, []message.Address{addr("", "=?utf-8?q?x?=", "example.org")}},
		// Separators.
		{"empty members", `,, a@b.example ,,`, []message.Address{addr("", "a", "b.example")}},
		{"nothing", ``, nil},
		{"white space", " \t ", nil},
		{"only a comment", `(nobody)`, nil},
		{"folded", "a@b.example,\r\n c@d.example", []message.Address{addr("", "a", "b.example"), addr("", "c", "d.example")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, defects := message.ParseAddressList(c.in)
			assert.Equal(t, c.want, got)
			assert.Empty(t, defects)
		})
	}
}

func TestParseAddressListLenient(t *testing.T) {
	end := message.Address{}
	for _, c := range []struct {
		name, in string
		want     []message.Address
	}{
		{"no domain", `root`, []message.Address{addr("", "root", message.NoHost)}},
		{"no domain in brackets", `Root <root>`, []message.Address{addr("Root", "root", message.NoHost)}},
		{"empty", `<>`, []message.Address{addr("", "", message.NoHost)}},
		{"no domain behind @", `a@`, []message.Address{addr("", "a", message.NoHost)}},
		{"no local part", `@example.org`, []message.Address{addr("", "", "example.org")}},
		{"address as a name", `boss@bank.example <thief@evil.example>`, []message.Address{addr("boss@bank.example", "thief", "evil.example")}},
		{"comma missing", `<a@b.example> <c@d.example>`, []message.Address{addr("", "a", "b.example"), addr("", "c", "d.example")}},
		{"text behind", `a@b.example text, c@d.example`, []message.Address{addr("", "a", "b.example"), addr("", "c", "d.example")}},
		{"semicolons", `a@b.example; c@d.example`, []message.Address{addr("", "a", "b.example"), addr("", "c", "d.example")}},
		{"bracket not closed", `A <a@b.example, c@d.example`, []message.Address{addr("A", "a", "b.example"), addr("", "c", "d.example")}},
		{"quote not closed", `"A <a@b.example>, c@d.example`, []message.Address{addr(`"A`, "a", "b.example"), addr("", "c", "d.example")}},
		{"comment not closed", `a@b.example (x, c@d.example`, []message.Address{addr("", "a", "b.example"), addr("", "c", "d.example")}},
		{"group not closed", `g: a@b.example`, []message.Address{{Name: "g", RawName: "g", Mailbox: "g"}, addr("", "a", "b.example"), end}},
		{"colons", `:a@b.example`, []message.Address{addr("", "a", "b.example")}},
		{"two at signs", `<a@b.example@c.example>`, []message.Address{addr("", "a", "b.example")}},
		{"unquoted comma", `Doe, John <j@b.example>`, []message.Address{addr("", "Doe", message.NoHost), addr("John", "j", "b.example")}},
		{"bracket in a name", `[list] a <j@b.example>`, []message.Address{addr("[list] a", "j", "b.example")}},
		{"spaces in a local part", `<john doe@b.example>`, []message.Address{addr("", "john doe", "b.example")}},
		{"control characters", "a\x01b@c.example", []message.Address{addr("", "a\x01b", "c.example")}},
		{"bad 8 bit", "J\xfcrgen <j@c.example>", []message.Address{{Name: "J\uFFFDrgen", RawName: "J\xfcrgen", Mailbox: "j", Host: "c.example"}}},
		{"CR, LF and NUL", "a\rb\nc\x00 <j@c.example>", []message.Address{addr("a bc", "j", "c.example")}},
		{"nested group", `a: b: c@d.example;`, []message.Address{{Name: "a", RawName: "a", Mailbox: "a"}, addr("", "b: c", "d.example"), end}},
		{"literal not closed", `a@[192.0.2.1, c@d.example`, []message.Address{addr("", "a", "192.0.2.1"), addr("", "c", "d.example")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, defects := message.ParseAddressList(c.in)
			assert.Equal(t, c.want, got)
			if c.name != "semicolons" && c.name != "CR, LF and NUL" && c.name != "bad 8 bit" {
				assert.Contains(t, kinds(defects), message.BadAddress)
			}
		})
	}
}

func TestParseAddressListLimits(t *testing.T) {
	list, defects := message.ParseAddressList(strings.Repeat("a@b.example,", 20000))
	assert.Len(t, list, 10000)
	assert.Contains(t, kinds(defects), message.TooManyAddresses)

	list, defects = message.ParseAddressList(strings.Repeat("g:;", 20000))
	assert.Len(t, list, 10000)
	assert.True(t, list[9999].IsGroupEnd())
	assert.Contains(t, kinds(defects), message.TooManyAddresses)

	list, _ = message.ParseAddressList("a@b.example," + strings.Repeat("g:", 9998) + strings.Repeat("x@y,", 10000))
	open := 0
	for _, a := range list {
		if a.IsGroupStart() {
			open++
		} else if a.IsGroupEnd() {
			open--
		}
	}
	assert.Zero(t, open, "markers come in pairs")

	deep := strings.Repeat("(", 65) + strings.Repeat(")", 65)
	list, defects = message.ParseAddressList("a@b.example " + deep + ", c@d.example")
	assert.Nil(t, list, "the value stays raw")
	assert.Equal(t, []message.DefectKind{message.TooDeep}, kinds(defects))
	list, defects = message.ParseAddressList("a@b.example " + deep[1:129] + ", c@d.example")
	assert.Len(t, list, 2)
	assert.Empty(t, defects)
}

// Each of these would take minutes if any step were quadratic.
func TestParseAddressListIsLinear(t *testing.T) {
	for _, unit := range []string{"(", "\"", "<", "a:", "@", "a@b ", "<@", "[", "a@[", "\\", "a . ", "a@b. ", "=?a?q?", "<\"", "a@b\"", ",", "(a)", "a b", "\"a\" ", "<a@b <"} {
		start := time.Now()
		message.ParseAddressList(strings.Repeat(unit, (1<<20)/len(unit)))
		assert.Less(t, time.Since(start), 2*time.Second, unit)
	}
}

func TestAddressString(t *testing.T) {
	for _, c := range []struct {
		a          message.Address
		addr, full string
	}{
		{addr("", "a", "b.example"), "a@b.example", "a@b.example"},
		{addr("Alice", "a", "b.example"), "a@b.example", "Alice <a@b.example>"},
		{addr("Doe, \"J\"", "a", "b.example"), "a@b.example", `"Doe, \"J\"" <a@b.example>`},
		{addr("J. Doe", "a", "b.example"), "a@b.example", `"J. Doe" <a@b.example>`},
		{addr("Jürgen", "a", "b.example"), "a@b.example", "=?utf-8?q?J=C3=BCrgen?= <a@b.example>"},
		{addr("=?utf-8?q?x?=", "a", "b.example"), "a@b.example", "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <a@b.example>"},
		{addr("", "john doe", "b.example"), `"john doe"@b.example`, `"john doe"@b.example`},
		{addr("", `a"\`, "b.example"), `"a\"\\"@b.example`, `"a\"\\"@b.example`},
		{addr("", "a..b", "b.example"), `"a..b"@b.example`, `"a..b"@b.example`},
		{addr("", "", "b.example"), `""@b.example`, `""@b.example`},
		{addr("", "jürgen", "b.example"), "jürgen@b.example", "jürgen@b.example"},
		{addr("", "root", message.NoHost), "root", "<root>"},
		{message.Address{Mailbox: "A group"}, "", "A group:"},
		{message.Address{}, "", ";"},
		{addr("a\r\nBcc: x", "a", "b\r\nc"), "a@b\r\nc", "=?utf-8?q?a__Bcc=3A_x?= <a@bc>"},
	} {
		assert.Equal(t, c.addr, c.a.Addr())
		assert.Equal(t, c.full, c.a.String())
	}
}

// What String writes, ParseAddressList reads.
func TestAddressRoundTrip(t *testing.T) {
	for _, name := range []string{"", "Alice", "Doe, J.", `q"\`, "Jürgen Müller", strings.Repeat("ä", 200), "a (b)", "=?x?=", " lead", "tab\there"} {
		for _, local := range []string{"a", "a.b", ".a", "a b", `"`, "ü", "a@b", "(x)"} {
			in := message.Address{Name: name, Mailbox: local, Host: "example.org"}
			got, defects := message.ParseAddressList(in.String())
			require.Len(t, got, 1, in.String())
			assert.Empty(t, defects, in.String())
			assert.Equal(t, in.Addr(), got[0].Addr())
			assert.Equal(t, name, got[0].Name, in.String())
		}
	}
}
