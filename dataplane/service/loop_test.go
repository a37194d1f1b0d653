package service_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func newService(name, ip string, ports ...int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip}}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", p), Port: p})
	}
	return s
}

func newSlice(name, svc string, ports []int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "hello", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: svc}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
	}
	for _, p := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: new(fmt.Sprint("p", p)), Port: new(8000 + p)})
	}
	return s
}

func ready(ip string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}
}

func terminating(ip string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{ip},
		Conditions: discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}}
}

// create adds objects to the store.
func create(t testing.TB, s *store.Memory, objects ...store.Object) store.Revision {
	t.Helper()
	return write(t, s, func(tx *store.Tx) error {
		for _, o := range objects {
			if err := tx.Create(o); err != nil {
				return err
			}
		}
		return nil
	})
}

func config(s store.Reader, tables service.Tables) service.Config {
	return service.Config{Store: s, Node: "mine", Tables: tables, Grace: func(ctx context.Context) error { return ctx.Err() }}
}

func newLoop(t testing.TB, cfg service.Config) *service.Loop {
	t.Helper()
	l, err := service.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run runs l until the test ends.
func run(t testing.TB, l *service.Loop) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// read is what the tables hold.
func read(t testing.TB, tables service.Tables) service.Rows {
	t.Helper()
	rows, err := service.Read(context.Background(), tables)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestTheTablesFollowTheStore(t *testing.T) {
	s, tables := newStore(t), memoryTables()
	create(t, s, newService("old", "10.96.0.9", 80), newSlice("old-1", "old", []int32{80}, ready("10.244.0.4")))
	l := newLoop(t, config(s, tables))
	run(t, l)
	r := create(t, s, newService("web", "10.96.0.10", 80), newSlice("web-1", "web", []int32{80}, ready("10.244.0.5"), ready("10.244.0.6")))
	if err := l.Synced(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := "10.96.0.9:80/TCP: 10.244.0.4:8080\n10.96.0.10:80/TCP: 10.244.0.5:8080 10.244.0.6:8080\n"
	if got := read(t, tables).Resolved(); got != want {
		t.Errorf("the tables lead\n%swant\n%s", got, want)
	}
}

func TestSyncedReturnsForARevisionThatChangedNoService(t *testing.T) {
	s := newStore(t)
	l := newLoop(t, config(s, memoryTables()))
	run(t, l)
	r := create(t, s, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: "web"}})
	if err := l.Synced(t.Context(), r); err != nil {
		t.Error(err)
	}
}

func TestSyncedEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoop(t, config(newStore(t), memoryTables()))
		run(t, l)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Synced(ctx, 99); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestALoopThatFellBehindReadsASnapshot(t *testing.T) {
	s, err := store.Open(store.NewVolatile(kinds()), kinds(), store.Options{Keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, newService("gone", "10.96.0.8", 80))
	tables := memoryTables()
	l := newLoop(t, config(s, tables))
	for l.Step(t.Context()) {
	}
	replace(t, s, []store.Object{newService("web", "10.96.0.10", 80)})
	create(t, s, newService("web2", "10.96.0.11", 80))
	for l.Step(t.Context()) {
	}
	if got, want := read(t, tables).Resolved(), "10.96.0.10:80/TCP:\n10.96.0.11:80/TCP:\n"; got != want {
		t.Errorf("the tables lead\n%swant\n%s", got, want)
	}
}

func TestARestartWritesNothingThatIsThereAlreadyAndDeletesWhatNobodyWants(t *testing.T) {
	s, tables := newStore(t), memoryTables()
	create(t, s, newService("web", "10.96.0.10", 80, 81), newSlice("web-1", "web", []int32{80, 81}, ready("10.244.0.5")),
		newService("gone", "10.96.0.11", 80), newSlice("gone-1", "gone", []int32{80}, ready("10.244.0.6")))
	first := newLoop(t, config(s, tables))
	for first.Step(t.Context()) {
	}
	before := read(t, tables)

	key := store.Key{Namespace: "hello", Name: "gone"}
	key.Kind.Kind = "Service"
	write(t, s, func(tx *store.Tx) error { return tx.Delete(key) })
	writes := 0
	counted := watched(tables, func(deleted bool) error {
		if !deleted {
			writes++
		}
		return nil
	})
	second := newLoop(t, config(s, counted))
	for second.Step(t.Context()) || second.Reap(t.Context()) {
	}
	if writes > 0 {
		t.Errorf("%d rows were written again", writes)
	}
	after := read(t, tables)
	if got, want := after.Resolved(), "10.96.0.10:80/TCP: 10.244.0.5:8080\n10.96.0.10:81/TCP: 10.244.0.5:8081\n"; got != want {
		t.Errorf("the tables lead\n%swant\n%s", got, want)
	}
	if len(after.Slots) != 2 || len(after.Backends) != 2 || len(before.Backends) != 3 {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

func TestAServiceMayTakeOverTheAddressOfAnotherOneWithoutAGap(t *testing.T) {
	for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
		t.Run(names[0]+" to "+names[1], func(t *testing.T) {
			s, tables := newStore(t), memoryTables()
			create(t, s, newService(names[0], "10.96.0.10", 80), newSlice("x", names[0], []int32{80}, ready("10.244.0.5")))
			gaps := 0
			l := newLoop(t, config(s, watched(tables, func(bool) error {
				if rows := read(t, tables); len(rows.Frontends) == 0 && len(rows.Backends) > 1 {
					gaps++
				}
				return nil
			})))
			for l.Step(t.Context()) {
			}
			replace(t, s, []store.Object{newService(names[1], "10.96.0.10", 80), newSlice("y", names[1], []int32{80}, ready("10.244.0.6"))})
			for l.Step(t.Context()) || l.Reap(t.Context()) {
			}
			if got, want := read(t, tables).Resolved(), "10.96.0.10:80/TCP: 10.244.0.6:8080\n"; got != want || gaps > 0 {
				t.Errorf("%d gaps, and the tables lead\n%swant\n%s", gaps, got, want)
			}
		})
	}
}

func TestWithdrawnReturnsWhenTheTablesDoNotLeadThereAnyMore(t *testing.T) {
	addr := netip.MustParseAddr("10.244.0.5")
	slice := func(es ...discoveryv1.Endpoint) store.Object { return newSlice("web-1", "web", []int32{80}, es...) }
	for _, row := range []struct {
		says string
		then store.Object
	}{
		{"its endpoint is removed", slice(ready("10.244.0.6"))},
		{"its endpoint is terminating and there are others", slice(terminating("10.244.0.5"), ready("10.244.0.6"))},
		{"its endpoint is terminating and there are no others", slice(terminating("10.244.0.5"))},
		{"the service has no endpoints any more", slice()},
	} {
		t.Run(row.says, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, tables := newStore(t), memoryTables()
				create(t, s, newService("web", "10.96.0.10", 80), slice(ready("10.244.0.5"), ready("10.244.0.6")))
				l := newLoop(t, config(s, tables))
				run(t, l)
				returned := make(chan error, 1)
				go func() { returned <- l.Withdrawn(t.Context(), addr) }()
				synctest.Wait()
				select {
				case err := <-returned:
					t.Fatalf("it returned %v while the address is led to", err)
				default:
				}
				write(t, s, func(tx *store.Tx) error { return tx.Update(row.then) })
				if err := <-returned; err != nil {
					t.Fatal(err)
				}
				for _, e := range read(t, tables).Backends {
					if e.Value.Addr() == addr && !e.Value.Terminating {
						t.Errorf("backend %v is still there", e)
					}
				}
			})
		})
	}
}

func TestWithdrawnReturnsAtOnceForAnAddressThatNobodyLeadsTo(t *testing.T) {
	l := newLoop(t, config(newStore(t), memoryTables()))
	run(t, l)
	if err := l.Withdrawn(t.Context(), netip.MustParseAddr("10.244.0.5")); err != nil {
		t.Error(err)
	}
}

func TestWithdrawnTakesIntoAccountWhatTheStoreKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		l := newLoop(t, config(s, memoryTables()))
		create(t, s, newService("web", "10.96.0.10", 80), newSlice("web-1", "web", []int32{80}, ready("10.244.0.5")))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		run(t, l) // it has not written the endpoint when Withdrawn is called
		if err := l.Withdrawn(ctx, netip.MustParseAddr("10.244.0.5")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestWithdrawnWaitsForCallsOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		cfg := config(s, memoryTables())
		grace := make(chan struct{})
		cfg.Grace = func(context.Context) error { <-grace; return nil }
		create(t, s, newService("web", "10.96.0.10", 80), newSlice("web-1", "web", []int32{80}, ready("10.244.0.5")))
		l := newLoop(t, cfg)
		run(t, l)
		synctest.Wait()
		r := write(t, s, func(tx *store.Tx) error { return tx.Update(newSlice("web-1", "web", []int32{80})) })
		returned := make(chan error, 1)
		go func() { returned <- l.Withdrawn(t.Context(), netip.MustParseAddr("10.244.0.5")) }()
		if err := l.Synced(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case <-returned:
			t.Fatal("it returned before the grace was over")
		default:
		}
		close(grace)
		if err := <-returned; err != nil {
			t.Error(err)
		}
	})
}

// watched calls before before each write to tables; an error of it fails the write.
func watched(t service.Tables, before func(deleted bool) error) service.Tables {
	return service.Tables{
		Frontends: watchedTable[service.Frontend, service.Set]{t.Frontends, before},
		Slots:     watchedTable[service.Slot, service.ID]{t.Slots, before},
		Backends:  watchedTable[service.ID, service.Backend]{t.Backends, before},
	}
}

type watchedTable[K target.Key[K], V comparable] struct {
	target.Target[K, V]
	before func(deleted bool) error
}

func (w watchedTable[K, V]) Put(ctx context.Context, k K, v V) error {
	if err := w.before(false); err != nil {
		return err
	}
	return w.Target.Put(ctx, k, v)
}

func (w watchedTable[K, V]) Delete(ctx context.Context, k K) error {
	if err := w.before(true); err != nil {
		return err
	}
	return w.Target.Delete(ctx, k)
}

// full compiles everything in s from nothing.
func full(s *store.Snapshot) string {
	var all service.Rows
	var ids service.IDs
	for svc := range store.List[*corev1.Service](s) {
		var rows service.Rows
		rows, ids, _ = service.Compile(s, "mine", s.Key(svc), service.Rows{}, ids)
		all.Frontends = append(all.Frontends, rows.Frontends...)
		all.Slots = append(all.Slots, rows.Slots...)
		all.Backends = append(all.Backends, rows.Backends...)
	}
	target.Sort(all.Frontends)
	target.Sort(all.Slots)
	target.Sort(all.Backends)
	return all.Resolved()
}

func TestWhateverHappensTheTablesEndUpAsIfCompiledFromNothingAndNoCallEverGoesAstray(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range uint64(40) {
		history(t, rand.New(rand.NewPCG(seed, round)))
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// history lets services come, change and go at random, with writes that fail and restarts, and checks the tables all along.
func history(t *testing.T, rng *rand.Rand) {
	now := time.Unix(0, 0)
	s, tables := newStore(t), memoryTables()
	faults := rng.IntN(2) == 0
	broken := errors.New("broken")
	fail := func() (before, after error) {
		if faults && rng.IntN(12) == 0 {
			if rng.IntN(2) == 0 {
				return broken, nil
			}
			return nil, broken
		}
		return nil, nil
	}
	faulty := service.Tables{
		Frontends: target.Faulty[service.Frontend, service.Set]{Target: tables.Frontends, Fail: fail},
		Slots:     target.Faulty[service.Slot, service.ID]{Target: tables.Slots, Fail: fail},
		Backends:  target.Faulty[service.ID, service.Backend]{Target: tables.Backends, Fail: fail},
	}
	checked := watched(faulty, func(bool) error {
		if rows := read(t, tables); dangling(rows) != nil {
			t.Fatalf("%v in\n%s", dangling(rows), rows)
		}
		return nil
	})
	cfg := config(s, checked)
	cfg.Now = func() time.Time { return now }
	l := newLoop(t, cfg)
	for range 60 {
		change(t, s, rng)
		for range rng.IntN(4) {
			l.Step(t.Context())
			if rng.IntN(3) == 0 {
				l.Reap(t.Context())
			}
			now = now.Add(10 * time.Second)
		}
		if rng.IntN(20) == 0 {
			l = newLoop(t, cfg)
		}
	}
	faults = false
	for range 5 { // what failed waits for its time
		for l.Step(t.Context()) || l.Reap(t.Context()) {
		}
		now = now.Add(time.Minute)
	}
	rows := read(t, tables)
	if d := cmp.Diff(full(s.Snapshot()), rows.Resolved()); d != "" {
		t.Errorf("compiled from nothing and step by step differ (-full +incremental):\n%s", d)
	}
	if err := garbage(rows); err != nil {
		t.Errorf("%v in\n%s", err, rows)
	}
}

// dangling is an error if a frontend leads to what is not there.
func dangling(rows service.Rows) error {
	slots := map[service.Slot]service.ID{}
	for _, e := range rows.Slots {
		slots[e.Key] = e.Value
	}
	backends := map[service.ID]bool{}
	for _, e := range rows.Backends {
		backends[e.Key] = true
	}
	for _, f := range rows.Frontends {
		for i := range f.Value.Count {
			if id, ok := slots[service.Slot{Set: f.Value.ID, Index: i}]; !ok || !backends[id] {
				return fmt.Errorf("%s leads astray in slot %d", f.Key, i)
			}
		}
	}
	return nil
}

// garbage is an error if there is a row that no frontend leads to.
func garbage(rows service.Rows) error {
	sets, used := map[service.ID]bool{}, map[service.ID]bool{}
	for _, e := range rows.Frontends {
		sets[e.Value.ID] = true
	}
	for _, e := range rows.Slots {
		if used[e.Value] = true; !sets[e.Key.Set] {
			return fmt.Errorf("slot %s belongs to no frontend", e.Key)
		}
	}
	for _, e := range rows.Backends {
		if !used[e.Key] {
			return fmt.Errorf("backend %d belongs to no slot", e.Key)
		}
	}
	return nil
}

// change does one thing to one of a few services, or two at once.
func change(t *testing.T, s *store.Memory, rng *rand.Rand) {
	write(t, s, func(tx *store.Tx) error {
		name := fmt.Sprint("s", rng.IntN(4))
		svc, exists := store.Get[*corev1.Service](tx.Snapshot, "hello", name)
		switch n := rng.IntN(10); {
		case n < 5:
			return putObject(tx, newSlice(fmt.Sprint(name, "-", rng.IntN(2)), name, somePorts(rng), someEndpoints(rng)...))
		case n < 6:
			k := store.Key{Namespace: "hello", Name: fmt.Sprint(name, "-", rng.IntN(2))}
			k.Kind.Group, k.Kind.Kind = discoveryv1.GroupName, "EndpointSlice"
			if _, ok := tx.Get(k); ok {
				return tx.Delete(k)
			}
		case n < 9 && exists:
			changed := newService(name, svc.Spec.ClusterIP, somePorts(rng)...)
			if n == 8 { // somebody else takes over its address
				if err := tx.Delete(tx.Key(svc)); err != nil {
					return err
				}
				changed.Name = free(tx.Snapshot)
			}
			return putObject(tx, changed)
		case exists:
			return tx.Delete(tx.Key(svc))
		default:
			return tx.Create(newService(name, fmt.Sprintf("10.96.0.%d", 1+uint64(tx.Revision())%250), somePorts(rng)...))
		}
		return nil
	})
}

func free(s *store.Snapshot) string {
	for i := 0; ; i++ {
		if _, taken := store.Get[*corev1.Service](s, "hello", fmt.Sprint("s", i)); !taken {
			return fmt.Sprint("s", i)
		}
	}
}

func putObject(tx *store.Tx, o store.Object) error {
	if _, ok := tx.Get(tx.Key(o)); ok {
		return tx.Update(o)
	}
	return tx.Create(o)
}

func somePorts(rng *rand.Rand) (ports []int32) {
	for p := range int32(3) {
		if rng.IntN(2) == 0 {
			ports = append(ports, 80+p)
		}
	}
	return ports
}

func someEndpoints(rng *rand.Rand) (es []discoveryv1.Endpoint) {
	for i := range 5 {
		addr := fmt.Sprintf("10.244.0.%d", i+1)
		switch rng.IntN(4) {
		case 0:
			es = append(es, ready(addr))
		case 1:
			es = append(es, terminating(addr))
		}
	}
	return es
}
