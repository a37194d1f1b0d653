package agent

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// slots let only so many pods do something at the same time. Who finds none free does not block, but waits in line and is
// woken when it is its turn.
type slots struct {
	wake func(types.UID)

	mu   sync.Mutex
	free int
	line []types.UID
	kept map[types.UID]bool // slots that wait for who was woken
}

func newSlots(n int, wake func(types.UID)) *slots {
	return &slots{wake: wake, free: n, kept: map[types.UID]bool{}}
}

// take gets a slot, which must be given back, or a place in the line.
func (s *slots) take(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.kept[uid]:
		delete(s.kept, uid)
		return true
	case s.free > 0:
		s.free--
		return true
	}
	if !slices.Contains(s.line, uid) {
		s.line = append(s.line, uid)
	}
	return false
}

// give gives a slot back.
func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pass()
}

// pass hands a slot to the first in line, or keeps it free.
func (s *slots) pass() {
	if len(s.line) == 0 {
		s.free++
		return
	}
	next := s.line[0]
	s.line = s.line[1:]
	s.kept[next] = true
	s.wake(next)
}

// leave is said by who wants no slot any more, whether it is in line or was woken.
func (s *slots) leave(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = slices.DeleteFunc(s.line, func(o types.UID) bool { return o == uid })
	if s.kept[uid] {
		delete(s.kept, uid)
		s.pass()
	}
}
