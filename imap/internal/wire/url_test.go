package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestURL(t *testing.T) {
	rump := "imap://anna@mail.test/INBOX/;uid=20/;section=1.2;expire=2026-11-25T10:00:00Z;urlauth=submit+anna"
	for in, want := range map[string]URL{
		"/INBOX/;UID=20":          {HasMailbox: true, Mailbox: "INBOX", UID: 20},
		"INBOX/;UID=20":           {HasMailbox: true, Mailbox: "INBOX", UID: 20},
		";UID=20":                 {UID: 20},
		"/;UID=20":                {UID: 20},
		";UID=20/;SECTION=HEADER": {UID: 20, Section: Section{Text: SectionHeader}},
		"/a/b%2Fc;uidvalidity=7/;uid=1/;section=1.2.MIME/;partial=3.4": {HasMailbox: true, Mailbox: "a/b/c", UIDValidity: 7, UID: 1,
			Section: Section{Path: []int{1, 2}, Text: SectionMIME}, Partial: true, Offset: 3, Length: 4},
		"/x/;UID=4294967295/;PARTIAL=9":                       {HasMailbox: true, Mailbox: "x", UID: 4294967295, Partial: true, Offset: 9},
		"/x/;UID=1/;SECTION=HEADER.FIELDS%20(Subject%20From)": {HasMailbox: true, Mailbox: "x", UID: 1, Section: Section{Text: SectionHeaderFields, Fields: []string{"Subject", "From"}}},
		"IMAP://a%40b;AUTH=*@Mail.Test:993/gr%C3%BCn/;UID=1":  {Absolute: true, User: "a@b", Host: "mail.test", HasMailbox: true, Mailbox: "gr\u00fcn", UID: 1},
		"imap://[::1]:143/x/;UID=1":                           {Absolute: true, Host: "[::1]", HasMailbox: true, Mailbox: "x", UID: 1},
		"imap://[::1]/x/;UID=1":                               {Absolute: true, Host: "[::1]", HasMailbox: true, Mailbox: "x", UID: 1},
		rump + ":internal:01ab": {Absolute: true, User: "anna", Host: "mail.test", HasMailbox: true, Mailbox: "INBOX", UID: 20, Section: Section{Path: []int{1, 2}},
			Expires: true, Expire: time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC), Access: "submit+anna", Mechanism: "INTERNAL", Token: "01ab", Rump: rump},
		rump: {Absolute: true, User: "anna", Host: "mail.test", HasMailbox: true, Mailbox: "INBOX", UID: 20, Section: Section{Path: []int{1, 2}},
			Expires: true, Expire: time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC), Access: "submit+anna", Rump: rump},
	} {
		got, err := ParseURL(in)
		if want.Rump == "" {
			want.Rump = in
		}
		assert.NoError(t, err, in)
		assert.Equal(t, want, got, in)
	}
	for _, in := range []string{
		"", "/", "x", "/INBOX", "/INBOX/", "/INBOX/;UID=", "/INBOX/;UID=0", "/INBOX/;UID=01", "/INBOX/;UID=+1", "/INBOX/;UID=4294967296", "/INBOX;UID=1", "/INBOX/;UID=1;SECTION=1",
		"/INBOX/;UID=1/", "/INBOX/;UID=1/;SECTION=0", "/INBOX/;UID=1/;SECTION=X", "/INBOX/;UID=1/;PARTIAL=", "/INBOX/;UID=1/;PARTIAL=1.0", "/INBOX/;UID=1/;PARTIAL=-1", "/INBOX/;UID=1/;PARTIAL=9223372036854775808",
		"/INBOX/;UID=1/;UID=2", "/INBOX/;SECTION=1/;UID=1", "/INBOX/;UIDVALIDITY=1/;UID=1", ";UIDVALIDITY=1/;UID=1", "/a%/;UID=1", "/a%0/;UID=1", "/a%00/;UID=1", "/a%FF/;UID=1", "/a b/;UID=1", "/\u00fc/;UID=1",
		"imap://", "imap:///x/;UID=1", "imap://h", "imap://h/;UID=1", "imap://h//;UID=1", "http://h/x/;UID=1x", "/x/;UID=1;EXPIRE=2026-11-25T10:00:00Z", "/x/;UID=1;EXPIRE=soon;URLAUTH=anonymous",
		"/x/;UID=1;URLAUTH=", "/x/;UID=1;URLAUTH=a:", "/x/;UID=1;URLAUTH=a:b", "/x/;UID=1;URLAUTH=a:b:", "/x/;UID=1;X=1", "/x/;UID=1/;SECTION={1}", "/" + strings.Repeat("a", maxURL) + "/;UID=1",
	} {
		_, err := ParseURL(in)
		assert.ErrorIs(t, err, ErrURL, in)
	}
	for access, want := range map[string][2]string{"user+a%40b": {"user+", "a@b"}, "AuthUser": {"authuser", ""}, "user+": {"", ""}, "user+%": {"", ""}} {
		kind, name := (&URL{Access: access}).Identifier()
		assert.Equal(t, want, [2]string{kind, name})
	}
}

func FuzzURL(f *testing.F) {
	f.Add("imap://anna@mail.test/INBOX;UIDVALIDITY=4/;uid=20/;section=1.2/;partial=0.5;expire=2026-11-25T10:00:00Z;urlauth=submit+anna:INTERNAL:01ab")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURL(s)
		if err == nil && (u.UID == 0 || !strings.HasPrefix(s, u.Rump)) {
			t.Fatalf("%+v", u)
		}
	})
}
