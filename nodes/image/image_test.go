package image

import (
	std "cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReferencesAreCompletedAsDockerDoes(t *testing.T) {
	for _, row := range []struct{ sentence, ref, want, host string }{
		{"a bare name is docker's library", "web", "docker.io/library/web:latest", "docker.io"},
		{"with a tag", "web:v1", "docker.io/library/web:v1", "docker.io"},
		{"a user's", "me/web:v1", "docker.io/me/web:v1", "docker.io"},
		{"a host has a dot", "ghcr.io/me/web", "ghcr.io/me/web:latest", "ghcr.io"},
		{"or a port", "localhost:5000/web", "localhost:5000/web:latest", "localhost:5000"},
		{"our own are as they are", "mainstay.local/hello:v1", "mainstay.local/hello:v1", Local},
		{"of tag and digest the digest counts", "web:v1@sha256:" + strings.Repeat("a", 64), "docker.io/library/web@sha256:" + strings.Repeat("a", 64), "docker.io"},
	} {
		got, err := Normalize(row.ref)
		if err != nil || got != row.want || Host(got) != row.host {
			t.Errorf("%s: got %s at %s, %v", row.sentence, got, Host(got), err)
		}
	}
	for _, ref := range []string{"", "Web", "web:", "a b", "https://x/y", "web@sha256:1"} {
		_, err := Normalize(ref)
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != InvalidName {
			t.Errorf("%q: got %v", ref, err)
		}
	}
}

func TestTheDefaultPolicyFollowsTheTag(t *testing.T) {
	for ref, want := range map[string]Policy{
		"web": Always, "web:latest": Always, "web:v1": IfNotPresent, "web@sha256:" + strings.Repeat("a", 64): IfNotPresent,
	} {
		if got := DefaultPolicy(ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
}

func TestErrorsSayWhatIsWrongAndHowToMendIt(t *testing.T) {
	for _, row := range []struct {
		err  *Error
		want string
	}{
		{&Error{Reason: NotFound, Ref: "mainstay.local/hello:v9"}, "image mainstay.local/hello:v9 not found (images of mainstay.local are imported on the node, never pulled)"},
		{&Error{Reason: NotFound, Ref: "docker.io/library/x:v9"}, "image docker.io/library/x:v9 not found"},
		{&Error{Reason: NeverPull, Ref: "x:1"}, `Container image "x:1" is not present with pull policy of Never`},
		{&Error{Reason: Unauthorized, Ref: "x.io/a:1", Host: "x.io"}, "image x.io/a:1: x.io refuses access; check the pull secret, and that the image exists"},
		{&Error{Reason: Unreachable, Ref: "x.io/a:1", Host: "x.io", Err: errors.New("connection refused")}, "image x.io/a:1: cannot reach x.io: connection refused"},
		{&Error{Reason: Failed, Ref: "x.io/a:1", Err: errors.New("no space left on device")}, "image x.io/a:1: no space left on device"},
	} {
		if got := row.err.Error(); got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
	}
}

// shelf is a Store in memory; pull is what its Pull does.
type shelf struct {
	mu    sync.Mutex
	have  map[string]Image
	pull  func(ctx context.Context, ref string, auth Auth) error
	asked atomic.Int32 // calls of Pull
	pulls atomic.Int32 // those of them that had their turn
	disk  Disk
	frees int64 // what the removal of a reference frees
}

func (s *shelf) Get(_ context.Context, ref string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.have[ref]; ok {
		return i, nil
	}
	return Image{}, ErrNotFound
}

func (s *shelf) Pull(ctx context.Context, ref string, auth Auth, f Follow) (Image, error) {
	s.asked.Add(1)
	if err := f.Turn(ctx); err != nil {
		return Image{}, err
	}
	s.pulls.Add(1)
	f.Progress(1, 2)
	if s.pull != nil {
		if err := s.pull(ctx, ref, auth); err != nil {
			return Image{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have[ref] = Image{Ref: ref, ID: "pulled"}
	return s.have[ref], nil
}

func (s *shelf) Import(context.Context, io.Reader) ([]Image, error) {
	return nil, errors.ErrUnsupported
}

func (s *shelf) List(context.Context) ([]Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.have), func(a, b Image) int { return strings.Compare(a.Ref, b.Ref) }), nil
}

func (s *shelf) Remove(_ context.Context, ref string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.have, ref)
	s.disk.Free += s.frees
	return nil
}

func (s *shelf) Disk(context.Context) (Disk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk, nil
}

func TestThePolicySaysWhenToPull(t *testing.T) {
	const here, there, local = "docker.io/library/here:v1", "docker.io/library/there:v1", "mainstay.local/here:v1"
	for _, row := range []struct {
		sentence string
		ref      string
		policy   Policy
		id       string
		reason   Reason
		pulls    int32
	}{
		{"what is here is not pulled", "here:v1", IfNotPresent, "present", "", 0},
		{"what is not here is", "there:v1", IfNotPresent, "pulled", "", 1},
		{"Always pulls what is here", "here:v1", Always, "pulled", "", 1},
		{"Never takes what is here", "here:v1", Never, "present", "", 0},
		{"and pulls nothing", "there:v1", Never, "", NeverPull, 0},
		{"no policy is that of the tag", "here:v1", "", "present", "", 0},
		{"a local image is never pulled, not even with Always", local, Always, "present", "", 0},
		{"nor one that is not here", "mainstay.local/there:v1", Always, "", NotFound, 0},
		{"what is no reference is not looked for", "No Reference", Always, "", InvalidName, 0},
	} {
		s := &shelf{have: map[string]Image{here: {Ref: here, ID: "present"}, local: {Ref: local, ID: "present"}}}
		got, err := NewPuller(s, 1).Ensure(t.Context(), row.ref, row.policy, Auth{})
		var reason Reason
		if e, ok := errors.AsType[*Error](err); ok {
			reason = e.Reason
		}
		if got.ID != row.id || reason != row.reason || s.pulls.Load() != row.pulls {
			t.Errorf("%s: got %+v, %v after %d pulls", row.sentence, got, err, s.pulls.Load())
		}
	}
}

func TestCallsForOneImageShareAPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &shelf{have: map[string]Image{}, pull: func(context.Context, string, Auth) error { <-release; return nil }}
		p := NewPuller(s, 10)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := p.Ensure(t.Context(), "web:v1", Always, Auth{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if _, err := p.Ensure(t.Context(), "web:v1", Always, Auth{Username: "other"}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if n := s.pulls.Load(); n != 2 {
			t.Errorf("%d pulls, want one for each credentials", n)
		}
		close(release)
		wg.Wait()
		if _, err := p.Ensure(t.Context(), "web:v1", Always, Auth{}); err != nil || s.pulls.Load() != 3 {
			t.Error("a later call must look again:", err, s.pulls.Load())
		}
	})
}

func TestAPullGoesOnWhileSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{have: map[string]Image{}, pull: func(ctx context.Context, _ string, _ Auth) error { <-ctx.Done(); return ctx.Err() }}
		p := NewPuller(s, 1)
		first, cancelFirst := context.WithCancel(t.Context())
		second, cancelSecond := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		for _, ctx := range []context.Context{first, second} {
			go func() { _, err := p.Ensure(ctx, "web:v1", Always, Auth{}); errs <- err }()
		}
		synctest.Wait()
		cancelFirst()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error("got", err)
		}
		synctest.Wait()
		if len(p.flights) != 1 {
			t.Error("the pull should go on for the second")
		}
		cancelSecond()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error("got", err)
		}
		synctest.Wait()
		if len(p.flights) != 0 {
			t.Error("the pull should have ended")
		}
	})
}

func TestNoMorePullsFetchThanMayAndNoneWaitsToAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &shelf{have: map[string]Image{}, pull: func(context.Context, string, Auth) error { <-release; return nil }}
		p := NewPuller(s, 2)
		var wg sync.WaitGroup
		results := make(chan Result, 4)
		for _, ref := range []string{"a:1", "b:1", "c:1", "d:1"} {
			wg.Go(func() {
				r, err := p.Get(t.Context(), Request{Ref: ref})
				if err != nil {
					t.Error(err)
				}
				results <- r
			})
		}
		synctest.Wait()
		if asked, pulls := s.asked.Load(), s.pulls.Load(); asked != 4 || pulls != 2 {
			t.Errorf("%d have asked, %d fetch; want 4 and 2", asked, pulls)
		}
		time.Sleep(3 * time.Second)
		release <- struct{}{}
		release <- struct{}{}
		synctest.Wait()
		time.Sleep(time.Second)
		close(release)
		wg.Wait()
		close(results)
		took := map[time.Duration]int{}
		for r := range results {
			took[r.Took]++
		}
		if diff := cmp.Diff(map[time.Duration]int{3 * time.Second: 2, time.Second: 2}, took); diff != "" {
			t.Error("the time in line is no time of the pull:", diff)
		}
	})
}

func TestProgressIsToldEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{have: map[string]Image{}, pull: func(context.Context, string, Auth) error { time.Sleep(25 * time.Second); return nil }}
		var got []int64
		if _, err := NewPuller(s, 1).Get(t.Context(), Request{Ref: "web:v1", Progress: func(done, total int64) { got = append(got, done, total) }}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int64{1, 2, 1, 2}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCredentialsAreTriedInOrder(t *testing.T) {
	for _, row := range []struct {
		sentence string
		auths    []Auth
		reasons  map[string]Reason // what the registry answers, by name
		tried    string
		reason   Reason
	}{
		{"none are nobody's", nil, nil, "-", ""},
		{"the first that fit are used", []Auth{{"a", ""}, {"b", ""}}, nil, "a", ""},
		{"refused ones are passed over", []Auth{{"a", ""}, {"b", ""}}, map[string]Reason{"a": Unauthorized}, "a b", ""},
		{"so are those that are shown nothing", []Auth{{"a", ""}, {"b", ""}}, map[string]Reason{"a": NotFound}, "a b", ""},
		{"the last refusal counts", []Auth{{"a", ""}, {"b", ""}}, map[string]Reason{"a": NotFound, "b": Unauthorized}, "a b", Unauthorized},
		{"with a registry that is away no others are tried", []Auth{{"a", ""}, {"b", ""}}, map[string]Reason{"a": Unreachable}, "a", Unreachable},
	} {
		var tried []string
		s := &shelf{have: map[string]Image{}, pull: func(_ context.Context, ref string, auth Auth) error {
			tried = append(tried, std.Or(auth.Username, "-"))
			if r := row.reasons[auth.Username]; r != "" {
				return &Error{Reason: r, Ref: ref}
			}
			return nil
		}}
		_, err := NewPuller(s, 1).Ensure(t.Context(), "web:v1", "", row.auths...)
		var reason Reason
		if e, ok := errors.AsType[*Error](err); ok {
			reason = e.Reason
		}
		if got := strings.Join(tried, " "); got != row.tried || reason != row.reason {
			t.Errorf("%s: tried %s, and got %v", row.sentence, got, err)
		}
	}
}

func TestWhatFailsWithoutAReasonIsFailed(t *testing.T) {
	s := &shelf{have: map[string]Image{}, pull: func(context.Context, string, Auth) error { return io.ErrUnexpectedEOF }}
	_, err := NewPuller(s, 1).Ensure(t.Context(), "web:v1", "", Auth{})
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != Failed || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("got", err)
	}
}
