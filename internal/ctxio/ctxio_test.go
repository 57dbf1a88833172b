package ctxio_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/internal/ctxio"
)

func TestFeed(t *testing.T) {
	text := strings.Repeat("0123456789", 10_000)
	broken := errors.New("broken")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		r    io.Reader
		want string
		err  error
	}{
		"stream":            {t.Context(), strings.NewReader(text), text, nil},
		"octets":            {t.Context(), bytes.NewReader([]byte(text)), text, nil},
		"buffer":            {t.Context(), bytes.NewBufferString(text), text, nil},
		"data with the end": {t.Context(), iotest.DataErrReader(strings.NewReader(text)), text, nil},
		"empty":             {t.Context(), strings.NewReader(""), "", nil},
		"broken":            {t.Context(), io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), "abc", broken},
		"gone":              {gone, strings.NewReader(text), "", context.Canceled},
		"gone, in memory":   {gone, bytes.NewReader([]byte(text)), "", context.Canceled},
	} {
		var got bytes.Buffer
		assert.ErrorIs(t, ctxio.Feed(c.ctx, &got, c.r), c.err, name)
		assert.Equal(t, c.want, got.String(), name)
	}
}
