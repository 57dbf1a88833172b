//go:build linux

package password

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// addEnv names the file to which another process adds users of its own.
const addEnv = "POSTA_PASSWORD_ADD"

// TestAddProcess is that process.
func TestAddProcess(t *testing.T) {
	path := os.Getenv(addEnv)
	if path == "" {
		return // it is run by the tests below
	}
	signal.Ignore(syscall.SIGXFSZ)
	for n := range 5 {
		require.NoError(t, cheap(File(path)).Add(fmt.Sprintf("user%d.%d", os.Getpid(), n), "one"))
	}
}

// Processes that change the file at the same time lose nothing of each other's.
func TestFileProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, cheap(File(path)).Add("bob", "one"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestAddProcess$")
			cmd.Env = append(os.Environ(), addEnv+"="+path)
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "%s", out)
		})
	}
	wg.Wait()
	list, err := File(path).List()
	require.NoError(t, err)
	assert.Len(t, list, 1+4*5)
}

// The group's rights are kept with the group, and not given to another.
func TestFileGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	program, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	for name, c := range map[string]struct {
		groups []uint32
		mode   fs.FileMode
		gid    uint32
	}{
		"of the group":     {[]uint32{1235}, 0o660, 1235},
		"not of the group": {nil, 0o600, 1234},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "")
			require.NoError(t, err)
			t.Cleanup(func() { os.RemoveAll(dir) })
			require.NoError(t, os.Chmod(dir, 0o777))
			path, run := filepath.Join(dir, "users"), filepath.Join(dir, "run")
			require.NoError(t, os.WriteFile(run, program, 0o755))
			require.NoError(t, cheap(File(path)).Add("bob", "one"))
			require.NoError(t, os.Chown(path, 0, 1235))
			require.NoError(t, os.Chmod(path, 0o660))
			if c.groups == nil {
				require.NoError(t, os.Chmod(path, 0o664)) // or it could not be read
			}
			cmd := exec.Command(run, "-test.run=^TestAddProcess$")
			cmd.Env = append(os.Environ(), addEnv+"="+path)
			cmd.Dir = dir
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234, Groups: c.groups}}
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, c.mode, info.Mode().Perm())
			assert.Equal(t, c.gid, info.Sys().(*syscall.Stat_t).Gid)
			list, err := File(path).List()
			require.NoError(t, err)
			assert.Len(t, list, 1+5)
		})
	}
}

// A file that cannot be written to its end stays as it was, and nothing is left of
// the new one.
func TestFileNoRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	u := cheap(File(path))
	require.NoError(t, u.Set(User{Name: "bob", Groups: []string{strings.Repeat("x", 20_000)}}, "one"))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	// A limit of the process is what a full disk is: the write ends in the middle.
	cmd := exec.Command("sh", "-c", `ulimit -f 16 && exec "$0" -test.run='^TestAddProcess$'`, os.Args[0])
	cmd.Env = append(os.Environ(), addEnv+"="+path)
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "file too large")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, left, 1)
	_, err = check(t, u, "", "bob", "one")
	require.NoError(t, err)
	require.NoError(t, u.Add("carol", "one"))
}
