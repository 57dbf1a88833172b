package storetest

import (
	"context"
	"iter"
	"time"

	"github.com/posta-mail/posta/store"
)

// The optional interfaces of the wrapped engine.

func (s *mutantStore) Lease(ctx context.Context, account, name string, ttl time.Duration) (store.Lease, error) {
	return s.Store.(store.Leaser).Lease(ctx, account, name, ttl)
}

func (s *mutantStore) Quota(ctx context.Context, account string) (store.Quota, error) {
	return s.Store.(store.Quotas).Quota(ctx, account)
}

func (s *mutantStore) SetQuota(ctx context.Context, account string, limit store.Usage) error {
	return s.Store.(store.Quotas).SetQuota(ctx, account, limit)
}

func (s *mutantStore) Annotated(ctx context.Context, key string) iter.Seq2[string, error] {
	return s.Store.(store.AnnotationFinder).Annotated(ctx, key)
}

func (s *mutantStore) PlaceLater(ctx context.Context, t []store.Target) func() []store.Placed {
	return s.Store.(store.Pipeliner).PlaceLater(ctx, t)
}

func (a mutantAccount) Annotations(ctx context.Context, box store.MailboxID, prefix string) ([]store.Annotation, error) {
	return a.Account.(store.Annotations).Annotations(ctx, box, prefix)
}

func (a mutantAccount) Annotate(ctx context.Context, box store.MailboxID, set ...store.Annotation) (store.ModSeq, error) {
	return a.Account.(store.Annotations).Annotate(ctx, box, set...)
}

func (b mutantMailbox) UIDLs(ctx context.Context) (map[store.UID]string, error) {
	return b.Mailbox.(store.UIDLs).UIDLs(ctx)
}
