package smtp

import (
	"bufio"
	"net"
	"os"
	"runtime"
	"testing"
)

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func newBufReader(nc net.Conn) *bufio.Reader { return bufio.NewReader(nc) }

// hasPeek tells where hasInput can look.
const hasPeek = runtime.GOOS == "linux" || runtime.GOOS == "darwin"
