package volume

import (
	"os"
	"testing"

	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
)

func TestMain(m *testing.M) { os.Exit(nodetest.Main(m)) }
