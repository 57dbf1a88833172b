package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/store"
)

// MboxFormat says how lines that look like the beginning of a message are
// quoted in an mbox file (RFC 4155).
type MboxFormat uint8

// The formats that are read. MboxRD is also the one that is written.
const (
	// MboxRD quotes each line of any number of ">" and "From " by one more
	// ">", so that nothing is lost.
	MboxRD MboxFormat = iota
	// MboxO quotes "From " only: ">From " is read as that.
	MboxO
	// MboxCL quotes like MboxO, and Content-Length says where a message ends;
	// where it does not, separators are looked for.
	MboxCL
	// MboxCL2 has Content-Length and quotes nothing.
	MboxCL2
)

// Mbox is a file of messages, or a folder of such files: Source and Sink.
//
// As a Source, a folder gives a mailbox for each file that begins with "From ",
// named by its path without ".mbox" and, as Thunderbird has them, ".sbd". Lines
// may end in LF or CRLF. A separator is a line of "From ", a sender and a date,
// at the beginning or behind an empty line. Flags are read from the fields
// Status, X-Status and X-Keywords, which with X-UID, X-IMAP and X-IMAPbase do
// not become part of the message; the date in the separator is the internal
// date. Whoever may write to the file meanwhile must be kept away or only
// append.
//
// As a Sink it is a folder, with NAME.mbox for each mailbox in MboxRD, its
// lines ended by LF; fields of the names above that a message has are left out,
// lest they be taken for flags. A file is called NAME.mbox.part until it is
// complete. Files that are there already are store.ErrExists, unless they are
// those of the checkpoint.
type Mbox struct {
	Path string
	// Format is what a Source reads.
	Format MboxFormat
	// Mailbox is the mailbox that a single file is. Default INBOX.
	Mailbox string
}

// Identity implements Source and Sink.
func (b Mbox) Identity() string { return "mbox:" + absolute(b.Path) }

func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// maxFolders is how many mailboxes a source may have.
const maxFolders = 100_000

// Folders implements Source.
func (b Mbox) Folders(ctx context.Context) ([]Folder, error) {
	info, err := os.Stat(b.Path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		name := b.Mailbox
		if name == "" {
			name = store.Inbox
		}
		return []Folder{{Name: name, Key: ".", Messages: -1, Octets: info.Size()}}, nil
	}
	var folders []Folder
	err = filepath.WalkDir(b.Path, func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, e := filepath.Rel(b.Path, name)
		if e != nil || rel == "." {
			return errors.Join(err, e)
		}
		if strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), partSuffix) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		f := Folder{Name: mboxFolder(rel), Key: filepath.ToSlash(rel), Messages: -1, Err: err}
		if err == nil && (d.IsDir() || !d.Type().IsRegular()) {
			return nil
		}
		if f.Err == nil {
			f.Octets, f.Err = looksLikeMbox(name)
		}
		if len(folders) >= maxFolders {
			return fmt.Errorf("%w: more than %d folders", ErrLimit, maxFolders)
		}
		folders = append(folders, f)
		if err != nil && d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	return folders, err
}

// looksLikeMbox returns the size of a file, or why it is none.
func looksLikeMbox(name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	var first [5]byte
	if _, err := io.ReadFull(f, first[:]); err != nil || string(first[:]) != "From " {
		return 0, errors.New("not an mbox file")
	}
	return info.Size(), nil
}

const (
	mboxSuffix = ".mbox"
	partSuffix = ".part"
)

// mboxFolder is the mailbox that a path within a folder of mbox files is, and
// mboxPath the other way round. Characters that not every file system takes
// are written as %XX: "%" cannot be in a mailbox name.
func mboxFolder(path string) string {
	levels := strings.Split(filepath.ToSlash(path), "/")
	for i, l := range levels {
		if i < len(levels)-1 {
			l = strings.TrimSuffix(l, ".sbd")
		} else {
			l = strings.TrimSuffix(l, mboxSuffix)
		}
		levels[i] = unescape(l)
	}
	return strings.Join(levels, string(store.Separator))
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func mboxPath(name string) string {
	levels := strings.Split(name, string(store.Separator))
	for i, l := range levels {
		var b strings.Builder
		for j := range len(l) {
			c := l[j]
			// A dot hides a file at the beginning and is stripped by some
			// systems at the end; ".mbox" and ".sbd" mean something.
			if strings.IndexByte(`\:?"<>|`, c) >= 0 || c < ' ' || c == '.' && (j == 0 || j == len(l)-1 || j == len(l)-4 || j == len(l)-5) {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
		levels[i] = b.String()
	}
	return filepath.FromSlash(strings.Join(levels, "/")) + mboxSuffix
}

// file is the path of a folder of a Source.
func (b Mbox) file(key string) (string, error) {
	if key == "." {
		return b.Path, nil
	}
	if !filepath.IsLocal(filepath.FromSlash(key)) {
		return "", fmt.Errorf("%w: folder %q", store.ErrInvalidName, key)
	}
	return filepath.Join(b.Path, filepath.FromSlash(key)), nil
}

// Messages implements Source. ErrChanged: where the position points to, no
// message begins.
func (b Mbox) Messages(ctx context.Context, f Folder, after string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		name, err := b.file(f.key())
		if err != nil {
			yield(nil, err)
			return
		}
		file, err := os.Open(name)
		if err != nil {
			yield(nil, err)
			return
		}
		defer file.Close()
		r := &mboxReader{src: file, format: b.Format, br: bufio.NewReaderSize(nil, mboxBuffer)}
		if err := r.start(after); err != nil {
			yield(nil, err)
			return
		}
		for ctx.Err() == nil {
			m, err := r.next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(m, nil) {
				return
			}
			if _, err := io.Copy(io.Discard, mboxBody{r, m}); err != nil {
				yield(nil, err)
				return
			}
		}
		yield(nil, ctx.Err())
	}
}
