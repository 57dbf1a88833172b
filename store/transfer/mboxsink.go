package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/store"
)

// Open implements Sink.
func (b Mbox) Open(ctx context.Context, f Folder, at string) (FolderSink, error) {
	name := filepath.Join(b.Path, mboxPath(f.Name))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	s := &mboxSink{name: name}
	off := int64(0)
	if at != "" {
		var err error
		if off, err = strconv.ParseInt(at, 10, 64); err != nil || off < 0 {
			return nil, fmt.Errorf("%w: position %q", ErrCheckpoint, at)
		}
	}
	switch info, err := os.Stat(name); {
	case err == nil && at == "" && info.Size() > 0:
		return nil, fmt.Errorf("%w: %s", store.ErrExists, name)
	case err == nil && info.Size() != off:
		return nil, fmt.Errorf("%w: %s", ErrChanged, name)
	case err == nil:
		// It was complete, and there may be more.
		if err := os.Rename(name, name+partSuffix); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	var err error
	if s.f, err = os.OpenFile(name+partSuffix, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	info, err := s.f.Stat()
	if err == nil && info.Size() < off {
		err = fmt.Errorf("%w: %s is too short", ErrChanged, name+partSuffix)
	}
	if err == nil {
		err = s.rewind(off)
	}
	if err != nil {
		s.f.Close()
		return nil, err
	}
	return s, nil
}

// mboxSink appends to one file.
type mboxSink struct {
	name string
	f    *os.File
	w    bufio.Writer
	off  int64
	err  error
	done []func(Filed)
	ends []int64 // of what done is about
}

// rewind forgets what is behind an offset.
func (s *mboxSink) rewind(off int64) error {
	if err := s.f.Truncate(off); err != nil {
		return err
	}
	if _, err := s.f.Seek(off, io.SeekStart); err != nil {
		return err
	}
	s.w.Reset(s.f)
	s.off = off
	return nil
}

func (s *mboxSink) write(b []byte) {
	if s.err == nil {
		var n int
		n, s.err = s.w.Write(b)
		s.off += int64(n)
	}
}

func (s *mboxSink) Put(ctx context.Context, m *Message, done func(Filed)) error {
	start := s.off
	if err := s.message(m); err != nil {
		// The file must not keep half a message.
		return errors.Join(err, s.w.Flush(), s.rewind(start))
	}
	s.done = append(s.done, done)
	s.ends = append(s.ends, s.off)
	if len(s.done) < batchMessages && s.off-s.ends[0] < 4*batchOctets {
		return s.err
	}
	return s.Flush(ctx)
}

// message writes one message; an error is the body's or the file's.
func (s *mboxSink) message(m *Message) error {
	r := bufio.NewReaderSize(m.Body, 16<<10)
	peek, _ := r.Peek(8 << 10)
	date := m.Date
	if date.IsZero() {
		date = time.Now()
	}
	s.write(fmt.Appendf(nil, "From %s %s\n", envelopeSender(peek), date.UTC().Format(asctime)))
	inHead, dropping, first := true, false, true
	end := byte('\n')
	for {
		chunk, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return err
		}
		if len(chunk) == 0 {
			break
		}
		if err == bufio.ErrBufferFull && chunk[len(chunk)-1] == '\r' {
			chunk = chunk[:len(chunk)-1]
			r.UnreadByte()
		}
		whole := chunk[len(chunk)-1] == '\n'
		if whole {
			chunk = append(bytes.TrimSuffix(chunk[:len(chunk)-1], []byte("\r")), '\n')
		}
		if first && inHead {
			switch {
			case len(chunk) == 1 && whole:
				s.write(appendStatus(nil, m.Flags))
				inHead, dropping = false, false
			case chunk[0] != ' ' && chunk[0] != '\t':
				dropping = isMboxField(chunk)
			}
		}
		if first && !dropping && bytes.HasPrefix(bytes.TrimLeft(chunk, ">"), []byte("From ")) {
			s.write([]byte{'>'})
		}
		if !dropping {
			s.write(chunk)
			end = chunk[len(chunk)-1]
		}
		first = whole
	}
	if end != '\n' {
		s.write([]byte{'\n'})
	}
	if inHead {
		s.write(appendStatus(nil, m.Flags))
	}
	s.write([]byte{'\n'})
	return s.err
}

// envelopeSender is the address of Return-Path, if that is among the first
// fields.
func envelopeSender(head []byte) string {
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok && len(bytes.TrimSpace(line)) == 0 {
			break
		}
		if ok && strings.EqualFold(string(name), "Return-Path") {
			s := strings.Trim(strings.TrimSpace(string(value)), "<>")
			if s != "" && len(s) <= 320 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				return s
			}
		}
	}
	return "MAILER-DAEMON"
}

func (s *mboxSink) Flush(context.Context) error {
	if s.err == nil {
		s.err = s.w.Flush()
	}
	if s.err == nil && len(s.done) > 0 {
		s.err = s.f.Sync()
	}
	if s.err != nil {
		return s.err
	}
	done, ends := s.done, s.ends
	s.done, s.ends = nil, nil
	for i, d := range done {
		d(Filed{Position: strconv.FormatInt(ends[i], 10)})
	}
	return nil
}

func (s *mboxSink) Close(complete bool) error {
	err := s.f.Close()
	if err == nil && complete {
		if err = os.Rename(s.name+partSuffix, s.name); err == nil {
			err = syncDir(filepath.Dir(s.name))
		}
	}
	return err
}
