package receive

import (
	"context"
	"os/exec"
	"syscall"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
)

// tryOutside runs git where the test's context may have ended.
func tryOutside(dir string, args ...string) (string, error) {
	out, err := gitCommand(context.Background(), dir, args...).CombinedOutput()
	return string(out), err
}

func gitCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, gittest.Env(dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // its helpers too
	return cmd
}
