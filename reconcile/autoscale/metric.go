package autoscale

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// How long a pod that has just begun may use more processors than it will: what it uses meanwhile counts for nothing.
const (
	initialization = 5 * time.Minute
	readyDelay     = 30 * time.Second
)

// propose is the size that the metrics ask for: the largest. metric is the one that asks for it. Not ok: they cannot tell.
func (s *sizing) propose() (size int32, metric string, ok bool) {
	pods, err := s.pods()
	if err != nil {
		return 0, "", false
	}
	s.next.Status.CurrentMetrics = nil
	var first error
	var reason string
	failed := 0
	for i := range s.hpa.Spec.Metrics {
		m := &s.hpa.Spec.Metrics[i]
		n, name, status, err := s.measure(m, pods)
		if err != nil {
			if failed++; first == nil {
				first, reason = err, "FailedGet"+string(m.Type)+"Metric"
			}
			continue
		}
		s.next.Status.CurrentMetrics = append(s.next.Status.CurrentMetrics, status)
		if metric == "" || n > size {
			size, metric = n, name
		}
	}
	if failed == len(s.hpa.Spec.Metrics) || failed > 0 && size < s.scaled.Wanted {
		s.condition(autoscalingv2.ScalingActive, corev1.ConditionFalse, reason, "the HPA was unable to compute the replica count: "+first.Error())
		return 0, "", false
	}
	s.condition(autoscalingv2.ScalingActive, corev1.ConditionTrue, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+metric)
	return size, metric, true
}

// pods are those of the target, if they are no other autoscaler's too.
func (s *sizing) pods() ([]*corev1.Pod, error) {
	if s.scaled.Pods == nil || s.scaled.Pods.Empty() {
		s.condition(autoscalingv2.ScalingActive, corev1.ConditionFalse, "InvalidSelector", "the HPA target's scale is missing a selector")
		return nil, errors.New("selector is required")
	}
	pods := slices.Collect(store.List[*corev1.Pod](s.Snapshot, store.InNamespace(s.hpa.Namespace), store.Labelled(s.scaled.Pods)))
	for other := range store.List[*autoscalingv2.HorizontalPodAutoscaler](s.Snapshot, store.InNamespace(s.hpa.Namespace)) {
		o := &sizing{World: s.World, Autoscaler: s.Autoscaler, hpa: other, next: other.DeepCopy()}
		if other.UID == s.hpa.UID || !o.find() || o.scaled.Pods == nil {
			continue
		}
		if slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return o.scaled.Pods.Matches(labels.Set(p.Labels)) }) {
			names := []string{s.hpa.Namespace + "/" + s.hpa.Name, other.Namespace + "/" + other.Name}
			slices.Sort(names)
			err := fmt.Errorf("pods by selector %s are controlled by more than one HPA (e.g. [%s])", s.scaled.Pods, strings.Join(names, " "))
			s.condition(autoscalingv2.ScalingActive, corev1.ConditionFalse, "AmbiguousSelector", err.Error())
			return nil, err
		}
	}
	return pods, nil
}

// measure is the size that one metric asks for, and what it shows.
func (s *sizing) measure(m *autoscalingv2.MetricSpec, pods []*corev1.Pod) (size int32, name string, status autoscalingv2.MetricStatus, err error) {
	status.Type = m.Type
	switch m.Type {
	case autoscalingv2.ResourceMetricSourceType:
		r := m.Resource
		n, current, err := s.use(pods, r.Name, "", r.Target)
		if err != nil {
			return 0, "", status, fmt.Errorf("failed to get %s %w", r.Name, err)
		}
		status.Resource = &autoscalingv2.ResourceMetricStatus{Name: r.Name, Current: current}
		return n, called(r.Name, "resource", r.Target), status, nil
	case autoscalingv2.ContainerResourceMetricSourceType:
		r := m.ContainerResource
		n, current, err := s.use(pods, r.Name, r.Container, r.Target)
		if err != nil {
			return 0, "", status, fmt.Errorf("failed to get %s %w", r.Name, err)
		}
		status.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{Name: r.Name, Container: r.Container, Current: current}
		return n, called(r.Name, "container resource", r.Target), status, nil
	case autoscalingv2.ExternalMetricSourceType:
		return 0, "", status, fmt.Errorf("unable to get external metric %s/%s: no external metrics API (external.metrics.k8s.io) registered", s.hpa.Namespace, m.External.Metric.Name)
	case autoscalingv2.PodsMetricSourceType:
		return 0, "", status, fmt.Errorf("unable to get metric %s: no custom metrics API (custom.metrics.k8s.io) registered", m.Pods.Metric.Name)
	case autoscalingv2.ObjectMetricSourceType:
		return 0, "", status, fmt.Errorf("unable to get metric %s: no custom metrics API (custom.metrics.k8s.io) registered", m.Object.Metric.Name)
	}
	return 0, "", status, fmt.Errorf("unknown metric source type %q", m.Type)
}

func called(r corev1.ResourceName, what string, t autoscalingv2.MetricTarget) string {
	if t.AverageUtilization != nil {
		return fmt.Sprintf("%s %s utilization (percentage of request)", r, what)
	}
	return fmt.Sprintf("%s resource", r)
}

// A crew is the pods of a target by how much is known of what they use, in thousandths.
type crew struct {
	uses             map[string]int64 // of those that count
	request          map[string]int64
	missing, unready []string
	ready            int
}

// use is the size that the use of a resource asks for.
func (s *sizing) use(pods []*corev1.Pod, r corev1.ResourceName, container string, t autoscalingv2.MetricTarget) (int32, autoscalingv2.MetricValueStatus, error) {
	kind := "usage"
	if t.AverageUtilization != nil {
		kind = "utilization"
	}
	c, err := s.crew(pods, r, container, t.AverageUtilization != nil)
	if err != nil {
		return 0, autoscalingv2.MetricValueStatus{}, fmt.Errorf("%s: %w", kind, err)
	}
	ratio := func() float64 { return float64(average(c.uses)) / float64(t.AverageValue.MilliValue()) }
	if aim := t.AverageUtilization; aim != nil {
		ratio = func() float64 { return float64(share(c)) / float64(*aim) }
	}
	var status autoscalingv2.MetricValueStatus
	q := quantity(r, average(c.uses))
	if status.AverageValue = &q; t.AverageUtilization != nil {
		n := share(c)
		status.AverageUtilization = &n
	}
	return s.sizeFor(c, t, ratio), status, nil
}

// sizeFor follows the documented algorithm: what is not known is taken to speak against a change.
func (s *sizing) sizeFor(c *crew, t autoscalingv2.MetricTarget, ratio func() float64) int32 {
	current, first := s.scaled.Wanted, ratio()
	up := first > 1
	if (len(c.unready) == 0 || !up) && len(c.missing) == 0 {
		if s.tolerated(first) {
			return current
		}
		return int32(math.Ceil(first * float64(c.ready)))
	}
	for _, p := range c.missing {
		switch {
		case first < 1 && t.AverageUtilization != nil:
			c.uses[p] = c.request[p] * int64(max(100, *t.AverageUtilization)) / 100
		case first < 1:
			c.uses[p] = t.AverageValue.MilliValue()
		case up:
			c.uses[p] = 0
		}
	}
	if up {
		for _, p := range c.unready {
			c.uses[p] = 0
		}
	}
	again := ratio()
	size := int32(math.Ceil(again * float64(len(c.uses))))
	if s.tolerated(again) || (first < 1) != (again < 1) || again < 1 && size > current || again > 1 && size < current {
		return current
	}
	return size
}

func (s *sizing) tolerated(ratio float64) bool {
	up, down := 0.1, 0.1
	if b := s.hpa.Spec.Behavior; b != nil {
		if b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
			up = b.ScaleUp.Tolerance.AsApproximateFloat64()
		}
		if b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
			down = b.ScaleDown.Tolerance.AsApproximateFloat64()
		}
	}
	return 1-down <= ratio && ratio <= 1+up
}

// crew sorts pods by what is known of them.
func (s *sizing) crew(pods []*corev1.Pod, r corev1.ResourceName, container string, requests bool) (*crew, error) {
	if len(pods) == 0 {
		return nil, errors.New("no pods returned by selector while calculating replica count")
	}
	c := &crew{uses: map[string]int64{}, request: map[string]int64{}}
	usage := s.Usage.Latest()
	for _, p := range pods {
		used, measured := total(usage[p.UID], r, container)
		switch {
		case p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded:
			continue
		case p.Status.Phase == corev1.PodPending:
			c.unready = append(c.unready, p.Name)
		case !measured:
			c.missing = append(c.missing, p.Name)
		case r == corev1.ResourceCPU && s.beginning(p, used):
			c.unready = append(c.unready, p.Name)
		default:
			c.uses[p.Name] = used.value
			c.ready++
		}
		if !requests {
			continue
		}
		var err error
		if c.request[p.Name], err = requested(p, r, container); err != nil {
			return nil, err
		}
	}
	if len(c.uses) == 0 {
		return nil, errors.New("did not receive metrics for targeted pods (pods might be unready)")
	}
	if requests && share(c) < 0 {
		return nil, errors.New("no metrics returned matched known pods")
	}
	return c, nil
}

// beginning tells whether p has just begun, so that its use of processors says nothing yet.
func (s *sizing) beginning(p *corev1.Pod, u sum) bool {
	var ready *corev1.PodCondition
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == corev1.PodReady {
			ready = &p.Status.Conditions[i]
		}
	}
	start := p.Status.StartTime
	switch {
	case ready == nil || start == nil:
		return true
	case start.Add(initialization).After(s.Now):
		return ready.Status == corev1.ConditionFalse || u.at.Before(ready.LastTransitionTime.Add(u.window))
	}
	return ready.Status == corev1.ConditionFalse && start.Add(readyDelay).After(ready.LastTransitionTime.Time)
}

// A sum is what the containers of a pod use together, in thousandths.
type sum struct {
	value  int64
	at     time.Time
	window time.Duration
}

// total adds up what containers use, or takes one of them.
func total(used map[string]Used, r corev1.ResourceName, container string) (t sum, ok bool) {
	for name, u := range used {
		if container != "" && name != container {
			continue
		}
		switch r {
		case corev1.ResourceCPU:
			t.value += int64(math.Round(u.Cores * 1000))
		case corev1.ResourceMemory:
			t.value += u.Memory * 1000
		default:
			return t, false // nothing else is measured
		}
		t.at, t.window, ok = u.At, max(t.window, u.Window), true
	}
	return t, ok
}

// requested is what p asks for of a resource, in thousandths.
func requested(p *corev1.Pod, r corev1.ResourceName, container string) (n int64, err error) {
	if res := p.Spec.Resources; res != nil && container == "" {
		if q, ok := res.Requests[r]; ok {
			return q.MilliValue(), nil
		}
	}
	all := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all = append(all, c)
		}
	}
	for _, c := range all {
		if container != "" && c.Name != container {
			continue
		}
		q, ok := c.Resources.Requests[r]
		if !ok {
			return 0, fmt.Errorf("missing request for %s in container %s of Pod %s", r, c.Name, p.Name)
		}
		n += q.MilliValue()
	}
	return n, nil
}

func average(uses map[string]int64) int64 {
	var all int64
	for _, n := range uses {
		all += n
	}
	return all / int64(len(uses))
}

// share is how much of what they ask for pods use, in percent; -1 if they ask for nothing.
func share(c *crew) int32 {
	var used, asked int64
	for p, n := range c.uses {
		used, asked = used+n, asked+c.request[p]
	}
	if asked == 0 {
		return -1
	}
	return int32(used * 100 / asked)
}

func quantity(r corev1.ResourceName, thousandths int64) resource.Quantity {
	if r == corev1.ResourceMemory {
		return *resource.NewQuantity(thousandths/1000, resource.BinarySI)
	}
	return *resource.NewMilliQuantity(thousandths, resource.DecimalSI)
}
