package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMetadata(t *testing.T) {
	assert.Equal(t, GetMetadata{Mailbox: "x", Entries: []string{"/private/a"}}, good(t, " x /Private/A", (*Parser).GetMetadata))
	full := GetMetadata{Mailbox: "x", Entries: []string{"/private/a", "/shared"}, MaxSize: 7, HasMaxSize: true, Depth: DepthInfinity}
	assert.Equal(t, full, good(t, " (MAXSIZE 7 DEPTH INFINITY) x (/private/a /shared)", (*Parser).GetMetadata))
	assert.Equal(t, full, good(t, " x (depth infinity maxsize 7) (/private/a /shared)", (*Parser).GetMetadata))
	assert.Equal(t, DepthOne, good(t, " (DEPTH 1) x /shared", (*Parser).GetMetadata).Depth)
	assert.Equal(t, SetMetadata{Mailbox: "", Values: []Metadata{{"/private/a", []byte("1")}, {"/shared/b", nil}, {"/shared/c", []byte{}}, {"/shared/d", []byte{0}}}},
		good(t, " \"\" (/private/a \"1\" /shared/b NIL /shared/c \"\" /shared/d ~{1+}\r\n\x00)", (*Parser).SetMetadata))
	for _, entry := range []string{`""`, "/", "/private/", "/privat/x", "private/x", "/private//x", "/private/x/", `"/private/*"`, `"/private/%"`, `"/private/a` + "\x19" + `"`, "/private/" + strings.Repeat("x", 300)} {
		p := parse(" x " + entry)
		p.GetMetadata()
		assert.Error(t, p.End(), "%q", entry)
	}
	for _, args := range []string{"", " x", " x ()", " (DEPTH) x /shared", " (DEPTH 3) x /shared", " (MAXSIZE -1) x /shared", " (X 1) x /shared", " () x /shared",
		" (DEPTH 1) x (DEPTH 1) /shared", " x (DEPTH 1)", " x /shared /private", " x (/shared" + strings.Repeat(" /shared", 1000) + ")"} {
		p := parse(args)
		p.GetMetadata()
		assert.Error(t, p.End(), "%.40q", args)
	}
	for _, args := range []string{"", " x", " x ()", " x (/private/a)", " x (/private \"v\")", " x (/private/a x)", " x (/private/a \"v\"", " x (/private/a \"v\") y",
		" x (/shared/a NIL" + strings.Repeat(" /shared/a NIL", 1000) + ")"} {
		p := parse(args)
		p.SetMetadata()
		assert.Error(t, p.End(), "%.40q", args)
	}
}

func TestACLAndQuotaCommands(t *testing.T) {
	assert.Equal(t, ACL{"x", "-bob", "+lr"}, good(t, " x -bob +lr", (*Parser).SetACL))
	assert.Equal(t, ACL{"x", "b b", ""}, good(t, ` x "b b" ""`, (*Parser).SetACL))
	assert.Equal(t, ACL{Mailbox: "x", Identifier: "y"}, good(t, " x y", (*Parser).DeleteACL))
	assert.Equal(t, SetQuota{"", []QuotaLimit{{"STORAGE", 512}, {"X", 1<<63 - 1}}}, good(t, ` "" (storage 512 X 9223372036854775807)`, (*Parser).SetQuota))
	assert.Empty(t, good(t, ` "r" ()`, (*Parser).SetQuota).Limits)
	for _, args := range []string{"", ` ""`, ` "" (STORAGE)`, ` "" (STORAGE -1)`, ` "" (STORAGE 9223372036854775808)`, ` "" (STORAGE 1`, ` "" (` + strings.Repeat("A 1 ", 16) + "A 1)"} {
		p := parse(args)
		p.SetQuota()
		assert.Error(t, p.End(), "%.40q", args)
	}
}

func TestListReturnsMore(t *testing.T) {
	l := good(t, ` "" * RETURN (MYRIGHTS METADATA (/shared/a "/private/B") STATUS (MAILBOXID DELETED-STORAGE))`, (*Parser).List)
	assert.Equal(t, ListMyRights|ListMetadata|ListStatus, l.Return)
	assert.Equal(t, []string{"/shared/a", "/private/b"}, l.Entries)
	assert.Equal(t, StatusMailboxID|StatusDeletedStorage, l.Status)
	for off, args := range map[string]string{
		"LIST-MYRIGHTS": ` "" * RETURN (MYRIGHTS)`,
		"LIST-METADATA": ` "" * RETURN (METADATA /shared/a)`,
		"LIST-STATUS":   ` "" * RETURN (STATUS (SIZE))`,
		"SPECIAL-USE":   ` (SPECIAL-USE) "" *`,
		"LIST-EXTENDED": ` "" (a b)`,
		"QUOTA":         ` "" * RETURN (STATUS (DELETED-STORAGE))`,
		"OBJECTID":      ` "" * RETURN (STATUS (MAILBOXID))`,
	} {
		good(t, args, (*Parser).List)
		lim := testLimits
		lim.Off = map[string]bool{off: true}
		p := NewParser([]byte(args), lim)
		p.List()
		assert.Error(t, p.End(), off)
	}
}
