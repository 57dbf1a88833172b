package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc: a hundredth of a second on Linux.
const tick = 10 * time.Millisecond

// cpu is the processor time of a process and its living descendants, with that of
// children that have ended; 0 for pid 0.
func cpu(pid int) (sum time.Duration) {
	if pid == 0 {
		return 0
	}
	spent, children := map[int]time.Duration{}, map[int][]int{}
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		id, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		for _, s := range f[11:15] {
			n, _ := strconv.Atoi(s)
			spent[id] += time.Duration(n) * tick
		}
		parent, _ := strconv.Atoi(f[1])
		children[parent] = append(children[parent], id)
	}
	for todo := []int{pid}; len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], children[p]...)
		sum += spent[p]
	}
	return sum
}
