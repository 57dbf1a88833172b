package transfer

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
)

// killEnv holds, for this binary started once more by TestKill, what it is to
// copy as JSON.
const killEnv = "POSTA_TRANSFER_CHILD"

// killJob is what a child does.
type killJob struct {
	Kind, Source, Store, Out, State string
	At                              int // after how many messages it kills itself; 0: never
}

// killResult is what one that was not killed tells.
type killResult struct {
	Report Report
	Peak   int // KiB
	Millis int64
}

func TestMain(m *testing.M) {
	if job := os.Getenv(killEnv); job != "" {
		if err := killChild(job); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func (j killJob) ends(st store.Store) (Source, Sink) {
	account := Account{Store: st, Name: "anna", Create: true, Label: "kill"}
	switch j.Kind {
	case "mbox":
		return Mbox{Path: j.Source}, account
	case "maildir":
		return Maildir{Path: j.Source}, account
	case "to mbox":
		return account, Mbox{Path: j.Out}
	default:
		return account, Maildir{Path: j.Out}
	}
}

func killChild(text string) error {
	var j killJob
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	st, err := sqlite.Open(j.Store)
	if err != nil {
		return err
	}
	start := time.Now()
	from, to := j.ends(st)
	if j.At > 0 {
		from = &suicide{from, j.At}
	}
	r, err := Copy(context.Background(), from, to, Options{Checkpoint: j.State, saveEvery: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	if err := st.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(killResult{r, peak(), time.Since(start).Milliseconds()})
}

// suicide kills the process at some message.
type suicide struct {
	Source
	at int
}

func (s *suicide) Messages(ctx context.Context, f Folder, after string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for m, err := range s.Source.Messages(ctx, f, after) {
			if s.at--; s.at == 0 {
				if kb := peak(); kb > 0 {
					fmt.Println(kb)
				}
				p, err := os.FindProcess(os.Getpid())
				if err == nil {
					p.Kill()
				}
				select {}
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// peak is the most memory that this process ever had, in KiB; 0 where the
// system does not tell.
func peak() int {
	b, _ := os.ReadFile("/proc/self/status")
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// runChild runs a child; killed reports how it ended.
func runChild(t *testing.T, j killJob) (r killResult, killed bool) {
	t.Helper()
	text, err := json.Marshal(j)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+string(text))
	out, err := cmd.Output()
	if j.At > 0 {
		require.Error(t, err, "the child was not killed: %s", out)
		r.Peak, _ = strconv.Atoi(strings.TrimSpace(string(out)))
		return r, true
	}
	require.NoError(t, err, "%s", out)
	require.NoError(t, json.Unmarshal(out, &r))
	return r, false
}

// TestKill copies mail while it is killed twice: nothing is missing, nothing is
// there twice, and memory stays bounded. POSTA_TRANSFER_MESSAGES sets how many
// messages (2,000), at which the limit of memory means something.
func TestKill(t *testing.T) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("POSTA_TRANSFER_MESSAGES"), "2000"))
	require.NoError(t, err)
	for _, kind := range []string{"mbox", "maildir"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			j := killJob{Kind: kind, Source: filepath.Join(dir, "source"), Store: filepath.Join(dir, "store"), State: filepath.Join(dir, "state")}
			if kind == "mbox" {
				manyMbox(t, j.Source, n)
			} else {
				manyMaildir(t, j.Source, n)
			}
			killed(t, j, n)
			st, err := sqlite.Options{ReadOnly: true}.Open(j.Store)
			require.NoError(t, err)
			defer st.Close()
			complete(t, Account{Store: st, Name: "anna"}, n)
			require.NoError(t, st.Check(t.Context(), func(p sqlite.Problem) { t.Error(p) }))

			j.Kind, j.Out, j.State = "to "+kind, filepath.Join(dir, "out"), j.State+"2"
			st.Close()
			killed(t, j, n)
			if kind == "mbox" {
				complete(t, Mbox{Path: j.Out}, n)
			} else {
				complete(t, Maildir{Path: j.Out}, n)
			}
		})
	}
}

// killed runs a job to its end, killing it twice on the way.
func killed(t *testing.T, j killJob, n int) {
	t.Helper()
	most, began := 0, time.Now()
	for _, at := range []int{n / 3, n / 2, 0} {
		j.At = at
		r, dead := runChild(t, j)
		most = max(most, r.Peak)
		if dead {
			continue
		}
		t.Logf("%s: three runs, %.1f s; the last: %d messages, %d earlier, %d were there, %d ms; peak %d MiB",
			j.Kind, time.Since(began).Seconds(), r.Report.Messages, r.Report.Earlier, r.Report.Duplicates, r.Millis, most>>10)
		assert.Zero(t, r.Report.Skipped)
		assert.Equal(t, int64(n), r.Report.Messages+r.Report.Duplicates+r.Report.Earlier)
		assert.Positive(t, r.Report.Earlier, "it did not go on where it was")
		if n >= 100_000 {
			// What was done twice is what waited and the time between checkpoints.
			assert.Less(t, r.Report.Messages, int64(n/4), "it went too far back")
		}
	}
	if !raceEnabled {
		assert.Less(t, most, 300<<10, "KiB at the peak")
	}
}

const manyText = "From: Anna <anna@example.org>\r\nTo: bert@example.org\r\nSubject: Message %d\r\nMessage-ID: <%d@example.org>\r\n" +
	"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nThis is message %d, and it says little.\r\n"

func manyMail(i int) string {
	return strings.ReplaceAll(fmt.Sprintf(manyText, i, i, i), "\r\n", "\n")
}

func manyMbox(t *testing.T, name string, n int) {
	t.Helper()
	f, err := os.Create(name)
	require.NoError(t, err)
	w := bufio.NewWriter(f)
	for i := range n {
		fmt.Fprintf(w, "From anna@example.org Thu Jan  1 00:00:00 2026\n%s\n", manyMail(i))
	}
	require.NoError(t, w.Flush())
	require.NoError(t, f.Close())
}

func manyMaildir(t *testing.T, dir string, n int) {
	t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	for i := range n {
		name := filepath.Join(dir, "cur", fmt.Sprintf("%d.M%dP1.host:2,S", 1700000000+i/10, i))
		require.NoError(t, os.WriteFile(name, []byte(manyMail(i)), 0o600))
	}
}

// complete makes sure that every message is there once and as it was.
func complete(t *testing.T, s Source, n int) {
	t.Helper()
	folders, err := s.Folders(t.Context())
	require.NoError(t, err)
	require.Len(t, folders, 1)
	seen := make([]bool, n)
	duplicates, buf := 0, new(bytes.Buffer)
	for m, err := range s.Messages(t.Context(), folders[0], "") {
		require.NoError(t, err)
		buf.Reset()
		_, err := io.Copy(buf, m.Body)
		require.NoError(t, err)
		var i int
		_, subject, _ := strings.Cut(buf.String(), "Subject: Message ")
		_, err = fmt.Sscan(subject, &i)
		require.NoError(t, err)
		if seen[i] {
			duplicates++
		}
		seen[i] = true
		if want := fmt.Sprintf(manyText, i, i, i); want != buf.String() {
			t.Fatalf("message %d is %q", i, buf)
		}
	}
	missing := 0
	for _, s := range seen {
		if !s {
			missing++
		}
	}
	t.Logf("%s: %d duplicates, %d missing", s.Identity(), duplicates, missing)
	assert.Zero(t, duplicates, "duplicates")
	assert.Zero(t, missing, "missing")
}
