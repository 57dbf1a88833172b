package storetest

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// Every change is refused, and changes nothing.
func readOnlyMutations(k *kit) {
	ctx := k.Context()
	v := k.fullest()
	before := k.walk()
	body, err := store.StageTemp(ctx, k.TempDir(), strings.NewReader(mail(1)))
	require.NoError(k, err)
	defer body.Discard()
	name, box := v.a.Name(), v.info.Name
	target := store.Target{Account: name, Mailbox: box, Body: body}
	for what, call := range map[string]func() error{
		"CreateAccount": func() error { return k.st.CreateAccount(ctx, "new@example.org") },
		"DeleteAccount": func() error { return k.st.DeleteAccount(ctx, name) },
		"Place":         func() error { return k.st.Place(ctx, []store.Target{target})[0].Err },
		"Create":        func() error { _, err := v.a.Create(ctx, "New", store.CreateOptions{}); return err },
		"Rename":        func() error { return v.a.Rename(ctx, box, "Renamed") },
		"Delete":        func() error { return v.a.Delete(ctx, box) },
		"Subscribe":     func() error { return v.a.Subscribe(ctx, box, !v.info.Subscribed) },
		"Flag": func() error {
			_, err := v.mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagFlagged, "New"}})
			return err
		},
		"Expunge": func() error { _, err := v.mb.Expunge(ctx, store.UIDs(v.rows[0].UID)); return err },
		"Copy":    func() error { _, err := v.mb.Copy(ctx, store.AllUIDs(), v.mb.ID()); return err },
		"Move":    func() error { _, err := v.mb.Move(ctx, store.AllUIDs(), v.mb.ID()); return err },
	} {
		require.ErrorIs(k, call(), store.ErrReadOnly, what)
	}
	p := k.place(target, target, target)
	for i := range p {
		require.ErrorIs(k, p[i].Err, store.ErrReadOnly, "a result for each target")
	}
	if s, err := k.st.Stage(ctx, strings.NewReader(mail(2))); err != nil {
		require.ErrorIs(k, err, store.ErrReadOnly, "Stage")
	} else {
		require.EqualValues(k, len(mail(2)), s.Size())
		require.NoError(k, s.Discard())
		require.NoError(k, s.Discard(), "more than once")
	}
	after := k.walk()
	require.Len(k, after, len(before))
	for i := range before {
		require.Equal(k, before[i].info, after[i].info)
		require.NoError(k, sameContent(before[i].snap, after[i].snap))
	}
}

func readOnlyConcurrent(k *kit) {
	all := k.walk()
	want := map[string]string{}
	key := func(v visited, r store.Row) string { return fmt.Sprint(v.a.Name(), "/", v.mb.ID(), "/", r.UID) }
	for _, v := range all {
		for _, r := range v.rows[:min(10, len(v.rows))] {
			want[key(v, r)] = k.body(v.mb, r)
		}
	}
	var t team
	for w := range 8 {
		t.run(func() error {
			for i := range all {
				v := all[(i+w)%len(all)]
				now, err := v.mb.Snapshot(k.Context())
				if err != nil {
					return err
				}
				if err := sameContent(v.snap, now); err != nil {
					return err
				}
				for _, r := range now.Range(0, 10) {
					b, err := v.mb.Open(k.Context(), r)
					if err != nil {
						return err
					}
					data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
					b.Close()
					if err == nil && string(data) != want[key(v, r)] {
						err = fmt.Errorf("UID %d reads otherwise", r.UID)
					}
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	require.NoError(k, t.wait())
}

func readOnlyClose(k *kit) {
	calls := k.readingCalls(k.fullest())
	require.NoError(k, k.st.Close())
	for name, call := range calls {
		require.ErrorIs(k, call(context.Background()), store.ErrUnavailable, name)
	}
}
