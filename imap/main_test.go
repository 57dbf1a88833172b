package imap_test

import (
	"testing"

	"github.com/posta-mail/posta/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }
