package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/posta-mail/posta/store"
)

// copyExtras copies what only stores have: subscriptions of names that no
// mailbox has, annotations, rights among them, and limits.
func copyExtras(ctx context.Context, from Source, to Sink, names map[string]string) error {
	src, ok := from.(Account)
	if !ok {
		return nil
	}
	dst, ok := to.(Account)
	if !ok {
		return nil
	}
	a, err := src.open(ctx)
	if err != nil {
		return err
	}
	b, err := dst.open(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil // every folder was left out
	}
	if err != nil {
		return err
	}
	if err := copySubscriptions(ctx, a, b); err != nil {
		return fmt.Errorf("subscriptions: %w", err)
	}
	if err := copyAnnotations(ctx, a, b, names); err != nil {
		return fmt.Errorf("annotations: %w", err)
	}
	q, ok1 := src.Store.(store.Quotas)
	r, ok2 := dst.Store.(store.Quotas)
	if !ok1 || !ok2 {
		return nil
	}
	quota, err := q.Quota(ctx, src.Name)
	if err == nil && quota.Limit != (store.Usage{}) {
		err = r.SetQuota(ctx, dst.Name, quota.Limit)
	}
	if err != nil {
		return fmt.Errorf("quota: %w", err)
	}
	return nil
}

// copySubscriptions subscribes names that have no mailbox; those that have one
// were subscribed when it was opened.
func copySubscriptions(ctx context.Context, from, to store.Account) error {
	subscribed, err := from.Subscriptions(ctx)
	if err != nil {
		return err
	}
	boxes, err := from.Mailboxes(ctx)
	if err != nil {
		return err
	}
	has := make(map[string]bool, len(boxes))
	for _, b := range boxes {
		has[b.Name] = true
	}
	for _, name := range subscribed {
		if !has[name] {
			if err := to.Subscribe(ctx, name, true); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyAnnotations(ctx context.Context, from, to store.Account, names map[string]string) error {
	src, ok := from.(store.Annotations)
	if !ok {
		return nil
	}
	dst, ok := to.(store.Annotations)
	if !ok {
		return nil
	}
	if err := copyBox(ctx, src, dst, 0, 0); err != nil {
		return err
	}
	boxes, err := from.Mailboxes(ctx)
	if err != nil {
		return err
	}
	for _, b := range boxes {
		name, ok := names[b.Name]
		if !ok {
			continue
		}
		mb, err := to.Mailbox(ctx, name)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err == nil {
			err = copyBox(ctx, src, dst, b.ID, mb.ID())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
	}
	return nil
}

func copyBox(ctx context.Context, src, dst store.Annotations, from, to store.MailboxID) error {
	set, err := src.Annotations(ctx, from, "")
	if err != nil || len(set) == 0 {
		return err
	}
	_, err = dst.Annotate(ctx, to, set...)
	return err
}
