package netserve

import (
	"net/netip"
	"runtime/debug"
	"time"
)

// peerTable counts connections and their rate by address prefix. Its owner
// locks it.
type peerTable struct {
	peers map[netip.Prefix]*peerCount
	swept time.Time
}

// maxPeers is how many prefixes without a connection are remembered for their
// rate, roughly.
const maxPeers = 1 << 16

type peerCount struct {
	rated  bool // to be remembered for its rate
	conns  int
	window time.Time // start of the minute counted
	opened int       // connections opened in it
}

func (t *peerTable) enter(key netip.Prefix, now time.Time, cfg *Config) error {
	if !key.IsValid() {
		return nil
	}
	if t.peers == nil {
		t.peers = make(map[netip.Prefix]*peerCount)
	}
	t.sweep(now)
	p := t.peers[key]
	if p == nil {
		t.makeRoom()
		p = &peerCount{window: now, rated: cfg.ConnRate > 0}
		t.peers[key] = p
	}
	if now.Sub(p.window) >= time.Minute {
		p.window, p.opened = now, 0
	}
	if cfg.MaxConnsPerAddr > 0 && p.conns >= cfg.MaxConnsPerAddr {
		return ErrTooManyPeer
	}
	if cfg.ConnRate > 0 && p.opened >= cfg.ConnRate {
		return ErrRate
	}
	p.opened++
	p.conns++
	return nil
}

func (t *peerTable) leave(key netip.Prefix) {
	p := t.peers[key]
	if p == nil || p.conns == 0 {
		return
	}
	if p.conns--; p.conns == 0 && !p.rated {
		delete(t.peers, key)
	}
}

// makeRoom forgets a few of those who have no connection when there are very
// many: a map begins its walk anywhere.
func (t *peerTable) makeRoom() {
	if len(t.peers) < maxPeers {
		return
	}
	looked := 0
	for k, p := range t.peers {
		if p.conns == 0 {
			delete(t.peers, k)
		}
		if looked++; looked >= 16 {
			return
		}
	}
}

// sweep forgets, once a minute, who is gone and whose minute is over.
func (t *peerTable) sweep(now time.Time) {
	if now.Sub(t.swept) < time.Minute {
		return
	}
	t.swept = now
	for k, p := range t.peers {
		if p.conns == 0 && now.Sub(p.window) >= time.Minute {
			delete(t.peers, k)
		}
	}
}

func stack() string { return string(debug.Stack()) }
