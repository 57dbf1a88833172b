package powerloss

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hexed turns 'text' into "\x74…", as strace -xx writes it.
func hexed(trace string) string {
	var b strings.Builder
	for i, part := range strings.Split(trace, "'") {
		if i%2 == 0 {
			b.WriteString(part)
			continue
		}
		b.WriteByte('"')
		for _, c := range []byte(part) {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
		b.WriteByte('"')
	}
	return b.String()
}

// tree describes a folder: "a=content b/ b/c=…".
func tree(t *testing.T, dir string) string {
	var all []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		switch {
		case err != nil || name == ".":
		case d.IsDir():
			all = append(all, name+"/")
		default:
			b, _ := os.ReadFile(path)
			all = append(all, name+"="+strings.ReplaceAll(string(b), "\x00", "0"))
		}
		return err
	}))
	slices.Sort(all)
	return strings.Join(all, " ")
}

// outcomes are the different states of each point, but for torn ones.
func outcomes(t *testing.T, trace, start string) (all [][]string, said string) {
	list, err := ParseTrace(strings.NewReader(hexed(trace)))
	require.NoError(t, err)
	require.NoError(t, Walk(list, "/r", start, func(p *Point) error {
		said += string(p.Said) + "|"
		var states []string
		for s := range p.States(Choice{Random: 300}, rand.New(rand.NewPCG(1, 2))) {
			dir := t.TempDir()
			require.NoError(t, s.Write(dir))
			states = append(states, tree(t, dir))
		}
		slices.Sort(states)
		all = append(all, slices.Compact(states))
		return nil
	}))
	return all, said
}

func TestStates(t *testing.T) {
	for _, c := range []struct {
		name, trace string
		want        [][]string
	}{
		{"nothing", `1 getpid() = 1`, [][]string{{""}}},
		{"a name is durable with its folder", `
1 openat(AT_FDCWD, '/r/a', O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600) = 3
1 pwrite64(3, 'xy', 2, 0) = 2
1 fdatasync(3)                          = 0
1 openat(AT_FDCWD, '/r', O_RDONLY|O_CLOEXEC) = 4
1 fsync(4)                              = 0`,
			[][]string{{"", "a=", "a=xy"}, {"", "a=xy"}, {"a=xy"}}},
		{"writes are lost one by one", `
1 openat(AT_FDCWD, '/r/old', O_RDWR) = 3
1 pwrite64(3, 'A', 1, 0) = 1
1 pwrite64(3, 'B', 1, 4) = 1
1 ftruncate(3, 1) = 0
1 fsync(3) = 0`,
			[][]string{{"old=A", "old=A23", "old=A230B", "old=1", "old=123", "old=1230B"}, {"old=A"}}},
		{"what failed has not happened", `
1 openat(AT_FDCWD, '/r/a', O_RDONLY) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD, '/r/old', O_WRONLY|O_APPEND) = 3
1 write(3, 'AB', 2) = 1
1 write(3, 'C', 1) = -1 ENOSPC (No space left on device)
1 fsync(3) = -1 EIO (Input/output error)
1 unlinkat(AT_FDCWD, '/r/no', 0) = -1 ENOENT (No such file or directory)`,
			[][]string{{"old=123", "old=123A"}, {"old=123", "old=123A"}}},
		{"a sync takes what came before it", `
1 openat(AT_FDCWD, '/r/old', O_WRONLY) = 3
1 write(3, 'A', 1) = 1
2 fsync(3 <unfinished ...>
1 write(3, 'B', 1) = 1
2 <... fsync resumed>) = 0
1 --- SIGURG {si_signo=SIGURG, si_code=SI_TKILL} ---
1 fcntl(3, F_DUPFD_CLOEXEC, 0) = 5
1 close(3) = 0
1 fsync(5) = 0
1 +++ exited with 0 +++`,
			[][]string{{"old=123", "old=A23"}, {"old=A23", "old=AB3"}, {"old=AB3"}}},
		{"a renaming is whole", `
1 mkdirat(AT_FDCWD, '/r/d', 0700) = 0
1 open('/r/d', O_RDONLY) = 3
1 open('/r', O_RDONLY) = 4
1 fsync(4) = 0
1 renameat2(AT_FDCWD, '/r/old', AT_FDCWD, '/r/d/new', RENAME_NOREPLACE) = 0
1 fsync(3) = 0
1 fsync(4) = 0
1 rename('/r/d/new', '/r/d/newer') = 0
1 rename('/r/d/newer', '/r/x') = 0
1 fsync(3) = 0`,
			[][]string{
				{"old=123", "d/ old=123"},
				{"d/ old=123", "d/ d/new=123 old=123", "d/ d/new=123"},
				{"d/ d/new=123 old=123", "d/ d/new=123"},
				{"d/ d/new=123", "d/ d/newer=123", "d/ d/new=123 x=123", "d/ d/newer=123 x=123", "d/ x=123"},
				{"d/ x=123"},
			}},
		{"a removed file may be there", `
1 open('/r/old', O_WRONLY|O_TRUNC) = 3
1 writev(3, [{iov_base='A', iov_len=1}, {iov_base='B', iov_len=1}], 2) = 2
1 unlink('/r/old') = 0
1 linkat(AT_FDCWD, '/r/none', AT_FDCWD, '/q', 0) = 0`,
			[][]string{{"", "old=", "old=123", "old=AB", "old=AB3"}}},
		{"killed", `
1 open('/r/old', O_WRONLY) = 3
1 pwrite64(3, 'A', 1, 0 <unfinished ...>
1 +++ killed by SIGKILL +++
2 exit_group(0) = ?`,
			[][]string{{"old=123"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := t.TempDir()
			if strings.Contains(c.trace, "old") {
				require.NoError(t, os.WriteFile(filepath.Join(start, "old"), []byte("123"), 0o600))
			}
			for _, w := range c.want {
				slices.Sort(w)
			}
			got, _ := outcomes(t, strings.TrimSpace(c.trace), start)
			require.Equal(t, c.want, got)
		})
	}
}

// What is said counts from the beginning of the call, and at the next point.
func TestSaid(t *testing.T) {
	_, said := outcomes(t, strings.TrimSpace(`
1 write(1, 'one', 3 <unfinished ...>
2 openat(AT_FDCWD, '/r/a', O_RDWR|O_CREAT, 0600) = 3
2 fsync(3) = 0
1 <... write resumed>) = 3
1 dup2(1, 2) = 2
1 write(2, 'two', 3) = 3
1 write(3, '', 0) = -1 EBADF (Bad file descriptor)`), t.TempDir())
	require.Equal(t, "one|two|", said)
}

func TestTorn(t *testing.T) {
	long := strings.Repeat("x", 700) + strings.Repeat("y", 700)
	list, err := ParseTrace(strings.NewReader(hexed("1 open('/r/old', O_RDWR) = 3\n1 pwrite64(3, '" + long + "', 1400, 100) = 1400\n")))
	require.NoError(t, err)
	start := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(start, "old"), []byte(strings.Repeat("o", 200)), 0o600))
	sizes, parts := make(map[int]bool), make(map[string]bool)
	require.NoError(t, Walk(list, "/r", start, func(p *Point) error {
		for s := range p.States(Choice{Torn: 200}, rand.New(rand.NewPCG(1, 2))) {
			if s.How != "torn" {
				continue
			}
			dir := t.TempDir()
			require.NoError(t, s.Write(dir))
			b, err := os.ReadFile(filepath.Join(dir, "old"))
			require.NoError(t, err)
			sizes[len(b)] = true
			whole := slices.Concat([]byte(strings.Repeat("o", 100)), []byte(long))
			kept := ""
			for from := 0; from < len(b); from += 512 { // by sector: new, or as it was
				to := min(from+512, len(b))
				isNew := string(b[from:to]) == string(whole[from:to])
				old := make([]byte, len(b))
				copy(old, strings.Repeat("o", 200))
				require.True(t, isNew || string(b[from:to]) == string(old[from:to]), "sector at %d", from)
				kept += map[bool]string{true: "1", false: "0"}[isNew]
			}
			parts[kept] = true
		}
		return nil
	}))
	require.Subset(t, sizes, map[int]bool{200: true, 512: true, 1024: true, 1500: true})
	require.Subset(t, parts, map[string]bool{"100": true, "000": true, "010": true, "101": true, "110": true})
}

func TestNotModelled(t *testing.T) {
	for _, trace := range []string{
		`1 open('/r/old', O_RDWR) = 3
1 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000`,
		`1 open('/r/old', O_RDWR) = 3
1 write(3, 'a', 1) = 1`,
		`1 open('/r/old', O_RDWR) = 3
1 pwrite64(3, 'a'..., 100, 0) = 100`,
		`1 open('/r/old', O_RDWR) = 3
1 pwrite64(3, 'a', 1, 99999999999) = 1`,
		`1 open('/r/other', O_RDWR) = 3`,
		`1 open('/r/old', O_RDWR) = 3
1 copy_file_range(3, NULL, 4, NULL, 4, 0) = 4`,
		`1 symlink('x', '/r/y') = 0`,
		`1 truncate('/r/old', 5) = 0`,
		`1 io_uring_setup(8, 0xc000000000) = 5`,
		`1 <... fsync resumed>) = 0`,
		`fsync(3) = 0`,
		`1 fsync(3)`,
		`1 fsync(3) = what`,
	} {
		start := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(start, "old"), []byte("123"), 0o600))
		list, err := ParseTrace(strings.NewReader(hexed(trace)))
		if err == nil {
			err = Walk(list, "/r", start, func(*Point) error { return nil })
		}
		require.ErrorIs(t, err, ErrTrace, trace)
	}
}

// TestRecord has strace record a real program.
func TestRecord(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	cmd := exec.Command("/bin/sh", "-c", `echo hello > a; echo more >> a; echo bye > b; echo done`)
	cmd.Dir = dir
	list, err := Record(t.Context(), cmd)
	if errors.Is(err, ErrNoStrace) {
		t.Skip("strace, which is to be tested, is not installed")
	}
	require.NoError(t, err)
	// The program has no path of its own: let the folder be what it calls it.
	for i := range list {
		for k, a := range list[i].Args {
			if b, err := unquote(a); err == nil && !filepath.IsAbs(string(b)) && !strings.HasPrefix(list[i].Name, "write") {
				list[i].Args[k] = hexed("'" + dir + "/" + string(b) + "'")
			}
		}
	}
	points := 0
	require.NoError(t, Walk(list, dir, "", func(p *Point) error {
		points++
		require.Equal(t, "done\n", string(p.Said))
		for s := range p.States(Choice{}, nil) {
			to := t.TempDir()
			require.NoError(t, s.Write(to))
			if s.How == "all" {
				require.Equal(t, "a=hello\nmore\n b=bye\n", tree(t, to))
			}
		}
		return nil
	}))
	require.Equal(t, 1, points)
	_, err = Record(t.Context(), exec.Command("/bin/sh", "-c", "exit 3"))
	require.ErrorContains(t, err, "exit status 3")
}

func FuzzTrace(f *testing.F) {
	for _, s := range []string{
		`1 openat(AT_FDCWD, '/r/a', O_RDWR|O_CREAT, 0600) = 3
1 pwrite64(3, 'xy', 2, 0 <unfinished ...>
2 fsync(3) = 0
1 <... pwrite64 resumed>) = 2
1 rename('/r/a', '/r/b') = 0
1 writev(3, [{iov_base='A', iov_len=1}, {iov_base='B', iov_len=1}], 2) = -1 EIO (x)
1 ftruncate(3, 5) = 0
1 unlinkat(AT_FDCWD, '/r/b', 0) = 0
1 mkdir('/r/d', 0700) = 0
1 lseek(3, 1, SEEK_SET) = 1
1 fallocate(3, 0, 5, 9) = 0
1 rename('/r/d', '/r/d/e') = 0`,
		`1 --- SIGURG {} ---
1 dup2(1, 2) = 2
1 write(2, 'said', 4) = 4
1 exit_group(0) = ?`,
		`1 open('/r', O_RDONLY) = 3
1 pwrite64(3, 'x', 1, 4) = 1`,
	} {
		f.Add([]byte(hexed(s)))
	}
	f.Fuzz(func(t *testing.T, trace []byte) {
		list, err := ParseTrace(strings.NewReader(string(trace)))
		if err != nil {
			require.ErrorIs(t, err, ErrTrace)
			return
		}
		err = Walk(list, "/r", "", func(p *Point) error {
			n := 0
			for s := range p.States(Choice{Random: 2, Torn: 2, Old: true}, rand.New(rand.NewPCG(1, 2))) {
				_ = s.String()
				if n++; n == 20 {
					break
				}
			}
			return nil
		})
		if err != nil {
			require.ErrorIs(t, err, ErrTrace)
		}
	})
}
