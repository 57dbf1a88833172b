package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNotify(t *testing.T) {
	c := good(t, " none", (*Parser).Notify)
	assert.Nil(t, c.Groups)
	c = good(t, ` Set status (Selected (messageNEW (UID body.peek[header.fields (to "x y")]) MessageExpunge flagchange)) (subtree ("a b" {1+}`+"\r\nc"+`) NONE) (mailboxes INBOX (MailboxName ServerMetadataChange sunrise))`, (*Parser).Notify)
	assert.True(t, c.Status)
	assert.Len(t, c.Groups, 3)
	assert.Equal(t, NotifyNew|NotifyExpunge|NotifyFlags, c.Groups[0].Events)
	assert.Len(t, c.Groups[0].Items, 2)
	assert.True(t, c.Groups[0].Selected())
	assert.Equal(t, NotifyGroup{Filter: NotifySubtree, Mailboxes: []string{"a b", "c"}}, c.Groups[1])
	assert.Equal(t, NotifyGroup{Filter: NotifyMailboxes, Mailboxes: []string{"INBOX"}, Events: NotifyName | NotifyServerMetadata | NotifyUnknown}, c.Groups[2])
	for i, f := range []string{"selected", "selected-delayed", "inboxes", "personal", "subscribed"} {
		c = good(t, " SET ("+f+" (MessageNew MessageExpunge))", (*Parser).Notify)
		assert.Equal(t, NotifyFilter(i+1), c.Groups[0].Filter)
		assert.Nil(t, c.Groups[0].Items)
	}
	many := strings.Repeat("x ", 1000)
	good(t, " SET (mailboxes ("+many+"x) (MailboxName))"+strings.Repeat(" (personal NONE)", 1000), (*Parser).Notify)
	for _, in := range []string{
		"", " ", " SET", " SET ", " SET STATUS", " SET STATUS ", " SET  (personal NONE)", " SET(personal NONE)", " SET STATUS STATUS (personal NONE)", " NONE (personal NONE)",
		" SET ()", " SET (personal)", " SET (personal )", " SET (personal NONE) ", " SET (personal NONE)(inboxes NONE)", " SET (personal NONE", " SET (personal (NONE)", " SET (personal MailboxName)",
		" SET (mailboxes NONE)", " SET (mailboxes () NONE)", " SET (subtree (a NONE))", " SET (selected x NONE)", " SET (everywhere NONE)", " SET (selected NONE) (selected NONE)",
		" SET (selected (MessageNew))", " SET (selected (MessageExpunge))", " SET (personal (FlagChange))", " SET (personal (MessageNew MessageExpunge) )",
		" SET (selected (SubscriptionChange))", " SET (selected (MessageNew () MessageExpunge))", " SET (selected (MessageNew (FAST) MessageExpunge))",
		" SET (selected (MessageNew (UID MessageExpunge))", " SET (inboxes (MessageNew (UID) MessageExpunge))", " SET (selected (MessageNew MessageExpunge (UID)))", " SET (selected (MessageNew (" + strings.Repeat("UID ", testLimits.FetchItems) + "UID) MessageExpunge))",
	} {
		p := parse(in)
		p.Notify()
		assert.Error(t, p.End(), "%.80q", in)
	}
}
