package memory_test

import (
	"testing"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
	"github.com/posta-mail/posta/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Config{
		New:        func(testing.TB) store.Store { return memory.New() },
		SetUIDNext: memory.SetUIDNext,
	})
}

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, storetest.Config{New: func(testing.TB) store.Store { return memory.Options{MaxBytes: -1}.New() }})
}
