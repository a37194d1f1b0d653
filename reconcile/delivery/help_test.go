package delivery

import (
	"context"
	"testing"
)

// testContext ends before the test's own does, so that what runs in it can be waited for.
func testContext(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithoutCancel(t.Context()))
}
