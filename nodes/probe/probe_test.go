package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

func parse(t *testing.T, text string) *corev1.Probe {
	t.Helper()
	p := &corev1.Probe{}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTallies(t *testing.T) {
	const probe = `{periodSeconds: 10, failureThreshold: 3, successThreshold: 2, tcpSocket: {port: 1}}`
	for _, row := range []struct {
		name    string
		kind    pod.Kind
		passed  bool
		answers string // + good, - bad, one each period
		found   string // after each: + passed, - failed, ? not known
	}{
		{"readiness comes with enough good answers", pod.Readiness, false, "++", "-+"},
		{"a bad one in between begins the count anew", pod.Readiness, false, "+-++", "---+"},
		{"it goes with enough bad ones", pod.Readiness, true, "---", "++-"},
		{"a good one in between begins the count anew", pod.Readiness, true, "--+---", "+++++-"},
		{"life is taken for granted", pod.Liveness, true, "--+--", "+++++"},
		{"until enough bad answers", pod.Liveness, true, "---", "++-"},
		{"a start is not known before enough good answers", pod.Startup, false, "++", "?+"},
		{"or has failed after enough bad ones", pod.Startup, false, "---", "??-"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := pod.Check{CheckKey: pod.CheckKey{Kind: row.kind}, Probe: parse(t, probe), Passed: row.passed}
			tally, at := begin(c), time.Unix(0, 0)
			var found strings.Builder
			for _, answer := range row.answers {
				tally = tally.count(answer == '+', at, c)
				at = at.Add(10 * time.Second)
				switch {
				case !tally.known:
					found.WriteByte('?')
				case tally.passed:
					found.WriteByte('+')
				default:
					found.WriteByte('-')
				}
			}
			if found.String() != row.found {
				t.Errorf("found %s, want %s", found.String(), row.found)
			}
		})
	}
}

// bench runs a Prober in a bubble, whose commands are answered by the test.
type bench struct {
	*Prober
	begun time.Time

	mu     sync.Mutex
	asked  []string // when, in the time of the bubble
	told   []string
	answer func(command []string) bool
}

func newBench(t *testing.T, tell func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{begun: time.Now(), answer: func([]string) bool { return true }}
		b.Prober = New(Config{
			Exec: func(ctx context.Context, _ runtime.ID, command []string) (int, string, error) {
				b.mu.Lock()
				b.asked = append(b.asked, time.Since(b.begun).String())
				answer := b.answer
				b.mu.Unlock()
				if command[0] == "hang" {
					<-ctx.Done()
					return 0, "", ctx.Err()
				}
				if !answer(command) {
					return 1, "no", nil
				}
				return 0, "", nil
			},
			Changed: func(types.UID) {},
			Doubted: func(c pod.Check, m string) { t.Errorf("%s is doubted: %s", c.Kind, m) },
			Failed: func(c pod.Check, m string) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.told = append(b.told, fmt.Sprintf("%s %s: %s", time.Since(b.begun), c.Kind, m))
			},
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.Run(ctx) }()
		defer func() { stop(); <-done }()
		tell(b)
	})
}

func (b *bench) check(t *testing.T, kind pod.Kind, probe string) pod.Check {
	return pod.Check{CheckKey: pod.CheckKey{ID: runtime.ID{Pod: "u", Name: "a"}, Kind: kind}, Probe: parse(t, probe), Since: b.begun, Passed: kind == pod.Liveness}
}

// after lets time pass, and returns when was asked meanwhile.
func (b *bench) after(d time.Duration) string {
	time.Sleep(d)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := strings.Join(b.asked, " ")
	b.asked = nil
	return s
}

func TestProbesAreAskedWhenTheySay(t *testing.T) {
	for _, row := range []struct {
		name, probe string
		kind        pod.Kind
		good        bool
		asked       string
	}{
		{"at once, then every so often", `{periodSeconds: 2, exec: {command: [x]}}`, pod.Readiness, true, "0s 2s 4s"},
		{"after a delay", `{initialDelaySeconds: 1, periodSeconds: 2, exec: {command: [x]}}`, pod.Readiness, true, "1s 3s 5s"},
		{"in the first second sooner, until it passes", `{periodSeconds: 2, exec: {command: [x]}}`, pod.Readiness, false, "0s 100ms 300ms 700ms 2s 4s"},
		{"also when it starts", `{initialDelaySeconds: 1, periodSeconds: 2, exec: {command: [x]}}`, pod.Startup, false, "1s 1.1s 1.3s 1.7s 3s 5s"},
		{"one that waited for another to pass has its delay from when it is first asked for", `{initialDelaySeconds: 2, periodSeconds: 2, exec: {command: [gated]}}`, pod.Liveness, true, "3s 5s"},
		{"but not for its life", `{periodSeconds: 2, exec: {command: [x]}}`, pod.Liveness, false, "0s 2s 4s"},
		{"one that hangs is given up", `{periodSeconds: 2, timeoutSeconds: 3, exec: {command: [hang]}}`, pod.Liveness, true, "0s 3s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			newBench(t, func(b *bench) {
				b.answer = func([]string) bool { return row.good }
				check := b.check(t, row.kind, row.probe)
				if check.Gated = check.Probe.Exec.Command[0] == "gated"; check.Gated {
					time.Sleep(time.Second)
				}
				b.Keep("u", []pod.Check{check})
				if got := b.after(5500 * time.Millisecond); got != row.asked {
					t.Errorf("asked at %s, want %s", got, row.asked)
				}
			})
		})
	}
}

func TestFailuresThatWereAskedForEarlyDoNotCount(t *testing.T) {
	newBench(t, func(b *bench) {
		b.answer = func([]string) bool { return false }
		b.Keep("u", []pod.Check{b.check(t, pod.Startup, `{periodSeconds: 1, failureThreshold: 2, exec: {command: [x]}}`)})
		b.after(900 * time.Millisecond)
		if f := b.Found("u"); len(f) > 0 {
			t.Errorf("found %v before the second period", f)
		}
		b.after(200 * time.Millisecond)
		if f := b.Found("u"); len(f) != 1 || f[pod.CheckKey{ID: runtime.ID{Pod: "u", Name: "a"}, Kind: pod.Startup}] {
			t.Errorf("found %v", f)
		}
		if got := strings.Join(b.told, "\n"); got != "0s Startup: no\n1s Startup: no" {
			t.Errorf("told:\n%s", got)
		}
	})
}

func TestACheckThatIsNoLongerKeptEnds(t *testing.T) {
	newBench(t, func(b *bench) {
		c := b.check(t, pod.Liveness, `{periodSeconds: 1, timeoutSeconds: 100, exec: {command: [hang]}}`)
		d := b.check(t, pod.Readiness, `{periodSeconds: 1, exec: {command: [x]}}`)
		b.Keep("u", []pod.Check{c, d})
		b.after(time.Second + 1)
		b.Keep("u", []pod.Check{d})
		if got := b.after(3 * time.Second); got != "2s 3s 4s" {
			t.Errorf("asked at %s", got)
		}
		b.Keep("u", nil)
		if got := b.after(time.Minute); got != "" {
			t.Errorf("asked at %s", got)
		}
		if len(b.pods) > 0 || len(b.told) > 0 {
			t.Errorf("kept %v, told %v", b.pods, b.told)
		}
	})
}

func TestProbesThatHangHoldNoOther(t *testing.T) {
	newBench(t, func(b *bench) {
		for i := range 100 {
			c := b.check(t, pod.Liveness, `{periodSeconds: 10, timeoutSeconds: 9, exec: {command: [hang]}}`)
			c.ID.Pod = types.UID(strconv.Itoa(i))
			b.Keep(c.ID.Pod, []pod.Check{c})
		}
		b.after(time.Second)
		b.Keep("u", []pod.Check{b.check(t, pod.Readiness, `{periodSeconds: 5, exec: {command: [x]}}`)})
		if got := b.after(time.Second); got != "1s" {
			t.Errorf("asked at %s", got)
		}
	})
}

func TestAnswersOfPrograms(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer other.Close()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/away":
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/sick", http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/headers":
			if r.Host != "example.com" || r.Header.Get("X-Probe") != "yes" || r.URL.RawQuery != "q=1" || r.Header.Get("User-Agent") != "kube-probe/mainstay" {
				w.WriteHeader(http.StatusBadRequest)
			}
		case "/slow":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "sick of it\nmore")
		}
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	secure.StartTLS()
	defer secure.Close()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := nobody.Addr().(*net.TCPAddr).Port
	nobody.Close()
	open, tlsPort := port(plain), port(secure)
	alive, secret := healthServer(t, nil), healthServer(t, secure.TLS)
	a := newAsker(func(_ context.Context, _ runtime.ID, command []string) (int, string, error) {
		switch command[0] {
		case "bad":
			return 3, "out\n", nil
		case "broken":
			return 0, "", errors.New("no such file")
		}
		return 0, "", nil
	})
	for _, row := range []struct {
		name, probe string
		port        int
		want        string // empty: it passes
	}{
		{"http", `{httpGet: {path: /ok}}`, open, ""},
		{"https, whoever signed for it", `{httpGet: {path: /ok, scheme: HTTPS}}`, tlsPort, ""},
		{"a bad status", `{httpGet: {path: /sick}}`, open, "HTTP probe failed with statuscode: 503 sick of it"},
		{"a redirect on the same host is followed", `{httpGet: {path: /here}}`, open, "HTTP probe failed with statuscode: 503 sick of it"},
		{"a redirect to another host is an answer", `{httpGet: {path: /away}}`, open, "redirected"},
		{"redirects without end", `{httpGet: {path: /round}}`, open, "stopped after 10 redirects"},
		{"headers and a query", `{httpGet: {path: "/headers?q=1", httpHeaders: [{name: Host, value: example.com}, {name: X-Probe, value: "yes"}]}}`, open, ""},
		{"one that does not answer in time", `{timeoutSeconds: 1, httpGet: {path: /slow}}`, open, "context deadline exceeded"},
		{"nobody there", `{httpGet: {path: /ok}}`, closed, "connection refused"},
		{"a port that has no number", `{httpGet: {path: /ok}}`, 0, "the container does not have"},
		{"tcp", `{tcpSocket: {}}`, open, ""},
		{"tcp, nobody there", `{tcpSocket: {}}`, closed, "connection refused"},
		{"grpc", `{grpc: {}}`, alive, ""},
		{"grpc, a service of it", `{grpc: {service: up}}`, alive, ""},
		{"grpc, one that does not serve", `{grpc: {service: down}}`, alive, `service unhealthy (responded with "NOT_SERVING")`},
		{"grpc, one that nobody knows", `{grpc: {service: who}}`, alive, `gRPC health check of service "who" failed: unknown service`},
		{"grpc, one that does not answer in time", `{timeoutSeconds: 1, grpc: {service: slow}}`, alive, "deadline exceeded"},
		{"grpc with TLS, whoever signed for it", `{grpc: {mode: TLS}}`, secret, ""},
		{"grpc without TLS where there is some", `{timeoutSeconds: 1, grpc: {}}`, secret, "failed"},
		{"grpc, of a program that speaks something else", `{timeoutSeconds: 1, grpc: {}}`, open, "failed"},
		{"grpc, nobody there", `{grpc: {}}`, closed, "connection refused"},
		{"a command that succeeds", `{exec: {command: [good]}}`, 0, ""},
		{"a command that fails", `{exec: {command: [bad]}}`, 0, "out"},
		{"a command that cannot be run", `{exec: {command: [broken]}}`, 0, "no such file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := parse(t, row.probe)
			ctx, cancel := context.WithTimeout(t.Context(), timeout(p))
			defer cancel()
			ok, message := a.ask(ctx, pod.Check{Probe: p, Host: "127.0.0.1", Port: row.port})
			doubted := row.want == "redirected"
			if ok != (row.want == "" || doubted) || !strings.Contains(message, row.want) {
				t.Errorf("it passes: %v, %q, want %q", ok, message, row.want)
			}
		})
	}
}

func port(s *httptest.Server) int { return s.Listener.Addr().(*net.TCPAddr).Port }

// healthServer answers gRPC health checks, and returns its port.
func healthServer(t *testing.T, secret *tls.Config) int {
	t.Helper()
	var opts []grpc.ServerOption
	if secret != nil {
		secret := secret.Clone()
		secret.NextProtos = []string{"h2"}
		opts = append(opts, grpc.Creds(credentials.NewTLS(secret)))
	}
	opts = append(opts, grpc.UnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if r.(*healthpb.HealthCheckRequest).Service == "slow" {
			<-ctx.Done()
		}
		return handle(ctx, r)
	}))
	s, h := grpc.NewServer(opts...), health.NewServer()
	h.SetServingStatus("up", healthpb.HealthCheckResponse_SERVING)
	h.SetServingStatus("down", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(s, h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

func TestHooksAreRun(t *testing.T) {
	asked := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("User-Agent") + " " + r.URL.Path
		w.WriteHeader(http.StatusTeapot)
	}))
	defer s.Close()
	p := New(Config{Exec: func(_ context.Context, _ runtime.ID, command []string) (int, string, error) {
		if command[0] == "bad" {
			return 3, "oh no\n", nil
		}
		return 0, "", nil
	}})
	for _, row := range []struct {
		name, hook string
		port       int
		want       string // empty: it succeeds
	}{
		{"a command", `{exec: {command: [good]}}`, 0, ""},
		{"a command that fails", `{exec: {command: [bad, x]}}`, 0, `command "bad x" failed: oh no`},
		{"a request, whatever the answer is", `{httpGet: {path: /hook}}`, port(s), ""},
		{"https where there is none", `{httpGet: {path: /hook, scheme: HTTPS}}`, port(s), ""},
		{"a port without a number", `{httpGet: {path: /hook}}`, 0, "the hook names a port that the container does not have"},
		{"a pause", `{sleep: {seconds: 0}}`, 0, ""},
		{"a pause that is too long", `{sleep: {seconds: 100}}`, 0, "context deadline exceeded"},
		{"what is kept only for old manifests", `{tcpSocket: {port: 1}}`, 0, "tcpSocket is not one of these"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var h corev1.LifecycleHandler
			if err := yaml.UnmarshalStrict([]byte(row.hook), &h); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			err := p.RunHook(ctx, pod.HookCall{Handler: &h, Host: "127.0.0.1", Port: row.port})
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
	for range 2 {
		if got := <-asked; got != "kube-lifecycle/mainstay /hook" {
			t.Errorf("asked by %q", got)
		}
	}
}

func BenchmarkHTTP(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	a := newAsker(nil)
	c := pod.Check{Probe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/"}}}, Host: "127.0.0.1", Port: port(s)}
	for b.Loop() {
		if ok, m := a.ask(b.Context(), c); !ok {
			b.Fatal(m)
		}
	}
}
