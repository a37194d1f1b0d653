package autoscale

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// shrinkAfter is for how long less must have been wanted before a target shrinks, if its autoscaler does not say.
const shrinkAfter = 5 * time.Minute

// limit is the size that want becomes by the autoscaler's rules, and remembers what was wanted.
func (s *sizing) limit(current, want, least int32) int32 {
	behavior := s.hpa.Spec.Behavior
	up, down := time.Duration(0), shrinkAfter
	if behavior != nil {
		up, down = window(behavior.ScaleUp, up), window(behavior.ScaleDown, down)
	}
	lowest, highest := s.memory.span(want, s.Now, up, down)
	s.memory.recommended(want, s.Now, max(up, down))
	stable := min(max(current, lowest), highest)
	if behavior == nil {
		stable = highest
	}
	switch {
	case stable == want:
		s.condition(autoscalingv2.AbleToScale, corev1.ConditionTrue, "ReadyForNewScale", "recommended size matches current size")
	case want >= current:
		s.condition(autoscalingv2.AbleToScale, corev1.ConditionTrue, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation")
	default:
		s.condition(autoscalingv2.AbleToScale, corev1.ConditionTrue, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation")
	}
	size, reason, message := s.bounded(current, stable, least)
	limited := corev1.ConditionFalse
	if size != stable {
		limited = corev1.ConditionTrue
	}
	s.condition(autoscalingv2.ScalingLimited, limited, reason, message)
	return size
}

func window(r *autoscalingv2.HPAScalingRules, otherwise time.Duration) time.Duration {
	if r == nil || r.StabilizationWindowSeconds == nil {
		return otherwise
	}
	return time.Duration(*r.StabilizationWindowSeconds) * time.Second
}

// bounded keeps want between the smallest and the largest size, and to how fast it may change.
func (s *sizing) bounded(current, want, least int32) (size int32, reason, message string) {
	floor, ceiling := int32(math.MinInt32), max(2*current, 4)
	if b := s.hpa.Spec.Behavior; b != nil {
		ceiling = max(s.reach(current, b.ScaleUp, 1), current)
		floor = min(s.reach(current, b.ScaleDown, -1), current)
	}
	most := s.hpa.Spec.MaxReplicas
	switch {
	case want > min(most, ceiling) && ceiling < most:
		return ceiling, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
	case want > most:
		return most, "TooManyReplicas", "the desired replica count is more than the maximum replica count"
	case want < max(least, floor) && floor > least:
		return floor, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
	case want < least:
		return least, "TooFewReplicas", "the desired replica count is less than the minimum replica count"
	}
	return want, "DesiredWithinRange", "the desired count is within the acceptable range"
}

// reach is how far the policies of r let the size go from current: up (direction 1) or down (-1).
func (s *sizing) reach(current int32, r *autoscalingv2.HPAScalingRules, direction int32) int32 {
	if r == nil || r.SelectPolicy != nil && *r.SelectPolicy == autoscalingv2.DisabledPolicySelect {
		return current
	}
	var steps []int32 // how far each policy goes
	for _, p := range r.Policies {
		start := current - s.memory.change(s.Now.Add(-time.Duration(p.PeriodSeconds)*time.Second))
		far := start + direction*p.Value
		if p.Type == autoscalingv2.PercentScalingPolicy {
			exact := float64(start) * (1 + float64(direction*p.Value)/100)
			if far = int32(exact); direction > 0 {
				far = int32(math.Ceil(exact))
			}
		}
		steps = append(steps, direction*(far-current))
	}
	if len(steps) == 0 {
		return current
	}
	step := steps[0]
	for _, n := range steps[1:] {
		if r.SelectPolicy != nil && *r.SelectPolicy == autoscalingv2.MinChangePolicySelect {
			step = min(step, n)
		} else {
			step = max(step, n)
		}
	}
	return current + direction*step
}
