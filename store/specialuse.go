package store

import (
	"context"
	"errors"
	"slices"
)

// SpecialUses lists the special uses that a mailbox can be made with: those of
// RFC 6154 §2 but for \All and \Flagged, which no real mailbox can be, \Important
// (RFC 8457), and those of RFC 9979. The slice is the caller's.
func SpecialUses() []string {
	return []string{`\Archive`, `\Drafts`, `\Junk`, `\Sent`, `\Trash`, `\Important`, `\Memos`, `\Scheduled`, `\Snoozed`}
}

// SpecialMailbox is a mailbox with a special use.
type SpecialMailbox struct {
	Name string
	// SpecialUse is one of SpecialUses.
	SpecialUse string
}

// DefaultMailboxes are those that mail programs look for, or make themselves if
// they are not there, each under a name of its own. The slice is the caller's.
func DefaultMailboxes() []SpecialMailbox {
	return []SpecialMailbox{{"Archive", `\Archive`}, {"Drafts", `\Drafts`}, {"Junk", `\Junk`}, {"Sent", `\Sent`}, {"Trash", `\Trash`}}
}

// AddMailboxes makes mailboxes with a special use, as a program does for a new
// account, mostly with DefaultMailboxes, and subscribes to them and to INBOX.
// What is there already is left as it is, with or without that use; a use that
// another mailbox has is not given twice, and then no mailbox is made for it.
// Doing it again after an error, or a crash, completes it.
func AddMailboxes(ctx context.Context, acc Account, boxes []SpecialMailbox) error {
	infos, err := acc.Mailboxes(ctx)
	if err != nil {
		return err
	}
	for _, b := range boxes {
		if slices.ContainsFunc(infos, func(m MailboxInfo) bool {
			return b.SpecialUse != "" && m.SpecialUse == b.SpecialUse && m.Name != b.Name
		}) {
			continue
		}
		info, err := acc.Create(ctx, b.Name, CreateOptions{SpecialUse: b.SpecialUse})
		if err != nil && !errors.Is(err, ErrExists) {
			return err
		}
		if err == nil {
			infos = append(infos, info)
		}
		if err := acc.Subscribe(ctx, b.Name, true); err != nil {
			return err
		}
	}
	return acc.Subscribe(ctx, Inbox, true)
}
