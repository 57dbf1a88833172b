package smtp

import (
	"log/slog"
	"time"
)

// Under stress, which begins when four fifths of MaxConns or of MemoryBudget
// are in use and ends below that, a Server is short with its clients, so that
// those who do nothing make room for those who send: see Server.StressTimeout.
const (
	stressShare = 4
	stressOf    = 5
)

// stressBadCommands is what MaxBadCommands becomes.
const stressBadCommands = 1

// stressed reports whether the Server is under stress, and says so once when
// that changes.
func (c *session) stressed() bool {
	if c.stressTimeout == 0 {
		return false
	}
	on := over(int64(c.srv.conns.Conns()), int64(c.maxConns)) || over(c.budget.Used(), c.budget.Max())
	if c.stress.Load() != on && c.stress.CompareAndSwap(!on, on) {
		c.log.LogAttrs(c.ctx, slog.LevelWarn, map[bool]string{true: "under stress", false: "stress is over"}[on],
			slog.Int("connections", c.srv.conns.Conns()), slog.Int64("memory", c.budget.Used()))
		if c.trace.Stress != nil {
			c.trace.Stress(on)
		}
	}
	return on
}

// over reports whether the share of most that makes stress is used; 0 is no
// bound.
func over(used, most int64) bool {
	if most <= 0 {
		return false
	}
	share := most/stressOf*stressShare + (most%stressOf*stressShare+stressOf-1)/stressOf // rounded up
	return used >= share
}

// shortened is a wait for a command line as it is under stress.
func (c *session) shortened(d time.Duration) time.Duration {
	if c.stressed() && (d == 0 || d > c.stressTimeout) {
		return c.stressTimeout
	}
	return d
}
