package password

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// killedEnv names the file for the process that TestKilled kills.
const killedEnv = "POSTA_PASSWORD_KILLED"

// A process that is killed while it changes the file leaves a whole one, with
// each change that it has reported, and the next change tidies up.
func TestKilled(t *testing.T) {
	if path := os.Getenv(killedEnv); path != "" {
		editForEver(path)
	}
	if runtime.GOOS == "windows" {
		return // no lock there, and so no sweeping
	}
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, cheap(File(path)).Add("bob", "secret"))
	last := 0
	for range 10 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killedEnv+"="+path)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		require.True(t, lines.Scan(), "it does nothing")
		timer := time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		for more := true; more; more = lines.Scan() {
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				last = n
			}
		}
		_ = cmd.Wait()
		timer.Stop()

		u := cheap(File(path))
		require.NoError(t, u.Load())
		_, err = check(t, u, "", "bob", "secret")
		require.NoError(t, err)
		list, err := u.List()
		require.NoError(t, err)
		n, err := strconv.Atoi(list[0].Groups[0])
		require.NoError(t, err)
		assert.GreaterOrEqual(t, n, last, "a reported change is lost")
		assert.LessOrEqual(t, n, last+1)
	}
	require.NoError(t, cheap(File(path)).Set(User{Name: "bob"}, ""))
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, left, 1)
}

// editForEver counts in bob's groups and reports each number once it is written.
func editForEver(path string) {
	u := cheap(File(path))
	padding := strings.Repeat("x", 20_000) // so that writing takes a while
	n := 0
	if list, err := u.List(); err == nil && len(list[0].Groups) > 0 {
		n, _ = strconv.Atoi(list[0].Groups[0])
	}
	for {
		n++
		if err := u.Set(User{Name: "bob", Groups: []string{strconv.Itoa(n), padding}}, ""); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}
