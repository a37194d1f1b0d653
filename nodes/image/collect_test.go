package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheDiskSaysHowMuchIsToBeFreed(t *testing.T) {
	for _, row := range []struct {
		sentence  string
		keep      Thresholds
		free, out int64
	}{
		{"below the high threshold nothing", Thresholds{High: 85, Low: 80}, 16, 0},
		{"at it, down to the low one", Thresholds{High: 85, Low: 80}, 15, 5},
		{"a full disk", Thresholds{High: 85, Low: 80}, 0, 20},
		{"100 is never", Thresholds{High: 100, Low: 80}, 0, 0},
		{"so is no threshold", Thresholds{}, 0, 0},
	} {
		if got := row.keep.Excess(Disk{Size: 100, Free: row.free}); got != row.out {
			t.Errorf("%s: got %d, want %d", row.sentence, got, row.out)
		}
	}
}

func TestThresholdsThatMakeNoSenseAreRefused(t *testing.T) {
	if err := DefaultThresholds().Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Thresholds{{High: 101}, {High: -1}, {High: 80, Low: 85}, {High: 80, Low: -1}, {High: 80, MinAge: -1}, {MinAge: time.Hour, MaxAge: time.Minute}} {
		if bad.Validate() == nil {
			t.Errorf("accepted: %+v", bad)
		}
	}
}

func TestWhatNobodyUsesMayBeRemovedTheOldestFirst(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	keep := Thresholds{High: 85, Low: 80, MinAge: 2 * time.Minute, MaxAge: 24 * time.Hour}
	old := ago(10 * time.Hour)
	have := []Image{
		{Ref: "r/never:1", ID: "never", Since: old},
		{Ref: "r/recent:1", ID: "recent", Since: old},
		{Ref: "r/young:1", ID: "young", Since: ago(time.Minute)},
		{Ref: "r/byname:1", ID: "byname", Since: old},
		{Ref: "r/byid:1", ID: "byid", Since: old},
		{Ref: "r/loaded:1", ID: "loaded", Since: old, Loaded: true},
		{Ref: Local + "/x:1", ID: "local", Since: old},
		{Ref: "r/two:1", ID: "two", Since: ago(30 * time.Hour)},
		{Ref: "r/two:2", ID: "two", Since: ago(25 * time.Hour)},
		{Ref: "r/half:1", ID: "half", Since: old},
		{Ref: "r/half:2", ID: "half", Since: old, Loaded: true},
	}
	got := keep.Unused(have, map[string]bool{"r/byname:1": true, "byid": true}, map[string]time.Time{"recent": ago(time.Hour)}, now)
	var ids []string
	for _, u := range got {
		ids = append(ids, fmt.Sprint(u.ID, len(u.Refs)))
	}
	if text := strings.Join(ids, " "); text != "two2 never1 recent1" {
		t.Error("got", text)
	}
	if out := keep.Outdated(got, now); len(out) != 1 || out[0].ID != "two" {
		t.Errorf("outdated: %+v", out)
	}
	keep.MaxAge = 0
	if out := keep.Outdated(got, now); len(out) != 0 {
		t.Errorf("outdated without an age: %+v", out)
	}
}

// collecting is a collector on a shelf of images a, b, c..., of which some are in use.
func collecting(s *shelf, inUse ...string) (*Collector, *[]string) {
	used := map[string]bool{}
	for _, u := range inUse {
		used[u] = true
	}
	var told []string
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.have = map[string]Image{}
	for i, name := range []string{"a", "b", "c", "d"} {
		s.have[name] = Image{Ref: name, ID: "id-" + name, Since: now.Add(time.Duration(i-20) * time.Minute)}
	}
	return &Collector{
		Store: s, Keep: DefaultThresholds(), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
		InUse: func(context.Context) (map[string]bool, error) { return used, nil },
		Here:  func([]Image) {},
		Tell:  func(reason, message string) { told = append(told, reason+": "+message) },
	}, &told
}

func (s *shelf) names() string {
	have, _ := s.List(context.Background())
	var all []string
	for _, i := range have {
		all = append(all, i.Ref)
	}
	return strings.Join(all, " ")
}

func TestAFullDiskIsFreedOfAsMuchAsItTakes(t *testing.T) {
	s := &shelf{disk: Disk{Size: 100, Free: 10}, frees: 5}
	c, told := collecting(s, "id-a")
	c.Step(t.Context())
	if got := s.names(); got != "a d" || len(*told) > 0 {
		t.Errorf("left: %s; told %q", got, *told)
	}
}

func TestADiskThatHasRoomKeepsAll(t *testing.T) {
	s := &shelf{disk: Disk{Size: 100, Free: 16}, frees: 5}
	c, _ := collecting(s)
	c.Step(t.Context())
	if got := s.names(); got != "a b c d" {
		t.Errorf("left: %s", got)
	}
	if err := c.Reclaim(t.Context()); err != nil || s.names() != "" {
		t.Errorf("after Reclaim there is %s, %v", s.names(), err)
	}
}

func TestADiskThatCannotBeFreedIsComplainedOfNowAndThen(t *testing.T) {
	s := &shelf{disk: Disk{Size: 100, Free: 10}, frees: 1}
	c, told := collecting(s, "id-a", "b")
	now := c.Now()
	c.Now = func() time.Time { return now }
	c.Step(t.Context())
	want := []string{"FreeDiskSpaceFailed: Failed to garbage collect required amount of images. Attempted to free 10 bytes, but only found 2 bytes eligible to free."}
	if got := s.names(); got != "a b" || !slices.Equal(*told, want) {
		t.Errorf("left: %s; told %q", got, *told)
	}
	c.Step(t.Context())
	if len(*told) != 1 {
		t.Errorf("told at once again: %q", *told)
	}
	now = now.Add(5 * time.Minute)
	c.Step(t.Context())
	if len(*told) != 3 || !strings.HasPrefix((*told)[2], "ImageGCFailed: Image garbage collection failed multiple times in a row: ") {
		t.Errorf("told %q", *told)
	}
}

func TestNothingIsRemovedWhenItIsNotKnownWhatIsInUse(t *testing.T) {
	s := &shelf{disk: Disk{Size: 100}, frees: 5}
	c, _ := collecting(s)
	c.InUse = func(context.Context) (map[string]bool, error) { return nil, errors.New("no answer") }
	c.Step(t.Context())
	if got := s.names(); got != "a b c d" {
		t.Errorf("left: %s", got)
	}
}
