package main_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/kmspeers"
	"github.com/coffer-storage/coffer/internal/proctest"
)

// text returns a file of the repository without comments, with continued lines joined.
func text(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../..", path))
	require.NoError(t, err)
	bare := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(string(content), "")
	return regexp.MustCompile(`\\\n\s*`).ReplaceAllString(bare, "")
}

// instruction is a line of a Containerfile.
type instruction struct{ name, arguments string }

// containerfile returns the stages of the image's build.
func containerfile(t *testing.T) (stages [][]instruction) {
	t.Helper()
	for line := range strings.Lines(text(t, "Containerfile")) {
		name, arguments, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "FROM" {
			stages = append(stages, nil)
		}
		if name != "" && len(stages) > 0 {
			last := len(stages) - 1
			stages[last] = append(stages[last], instruction{name, arguments})
		}
	}
	return stages
}

// only returns the arguments of an instruction that a stage has once.
func only(t *testing.T, stage []instruction, name string) (arguments string) {
	t.Helper()
	found := 0
	for _, i := range stage {
		if i.name == name {
			arguments, found = i.arguments, found+1
		}
	}
	require.Equal(t, 1, found, name)
	return arguments
}

// imageEnvironment returns the variables that the image sets.
func imageEnvironment(t *testing.T, stage []instruction) map[string]string {
	t.Helper()
	variables := map[string]string{}
	for _, pair := range strings.Fields(only(t, stage, "ENV")) {
		name, value, ok := strings.Cut(pair, "=")
		require.True(t, ok, pair)
		variables[name] = value
	}
	return variables
}

// It needs no root, no secret and no shell, and has one volume.
func TestImageHasTheBinaryOnly(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"GO", "NODE"} {
		require.Regexp(t, `(?m)^ARG `+name+`=\S+:\d+\.\d+\.\d+-\S+@sha256:[0-9a-f]{64}$`, text(t, "Containerfile"))
	}
	stages := containerfile(t)
	image := stages[len(stages)-1]
	require.Equal(t, "scratch", only(t, image, "FROM"))
	require.Regexp(t, `^[1-9]\d*:[1-9]\d*$`, only(t, image, "USER"), "numbers, which orchestrators can check not to be root")
	variables := imageEnvironment(t, image)
	require.Equal(t, variables["COFFER_DATA"], only(t, image, "VOLUME"))
	_, port, err := net.SplitHostPort(variables["COFFER_LISTEN"])
	require.NoError(t, err)
	require.Equal(t, port, only(t, image, "EXPOSE"))
	require.Equal(t, "prod", variables["COFFER_ENVIRONMENT"])
	require.Equal(t, "true", variables["COFFER_PRODUCTION"])
	require.Equal(t, "SIGTERM", only(t, image, "STOPSIGNAL"))
	for _, name := range []string{"title", "description", "source", "licenses", "version"} {
		require.Contains(t, only(t, image, "LABEL"), "org.opencontainers.image."+name+"=")
	}
	for _, stage := range stages {
		for _, i := range stage {
			require.NotEqual(t, "ADD", i.name)
			require.NotContains(t, i.arguments, ":latest")
			if i.name == "FROM" {
				require.Regexp(t, `^(scratch$|\$\{GO\} |\$\{NODE\} )`, i.arguments, "an image without a digest")
			}
			if i.name == "ENV" || i.name == "ARG" {
				require.NotRegexp(t, `(KEY|PASSWORD|SECRET|TOKEN|URL)=`, i.arguments)
			}
			if i.name == "COPY" && !strings.HasPrefix(i.arguments, "--from") {
				paths := strings.Fields(i.arguments)
				for _, path := range paths[:len(paths)-1] {
					_, err := os.Stat(filepath.Join("../..", path))
					require.NoError(t, err)
				}
			}
		}
	}
	requireIgnored(t)
}

// They run with the image's environment: its settings are valid, and its health check finds the server.
func TestImageCommandsWork(t *testing.T) {
	t.Parallel()
	stages := containerfile(t)
	image := stages[len(stages)-1]
	require.Equal(t, []string{"/coffer", "serve"}, append(words(t, only(t, image, "ENTRYPOINT")), words(t, only(t, image, "CMD"))...))
	variables := imageEnvironment(t, image)
	requireSettings(t, variables)
	vault := kmspeers.NewVault(t)
	variables["COFFER_KEK_FILE"], variables["VAULT_ADDR"], variables["VAULT_TOKEN"] = kekFile(t), vault.URL, vault.Token
	variables["COFFER_SHUTDOWN_DELAY"] = "0s"
	p := serve(t, t.TempDir(), environ(variables)...)
	require.NotContains(t, p.log.String(), "for development")

	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.url, "http://"))
	require.NoError(t, err)
	variables["COFFER_LISTEN"] = "0.0.0.0:" + port
	_, check, ok := strings.Cut(only(t, image, "HEALTHCHECK"), "CMD ")
	require.True(t, ok)
	require.NoError(t, program(t, environ(variables), words(t, check)[1:]...).Run())
	p.kill()
	require.Error(t, program(t, environ(variables), words(t, check)[1:]...).Run())
}

// words parses the form of a command that needs no shell.
func words(t *testing.T, list string) (out []string) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(list), &out), list)
	return out
}

func environ(variables map[string]string) (out []string) {
	for name, value := range variables {
		out = append(out, name+"="+value)
	}
	return out
}

func kekFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	require.NoError(t, os.WriteFile(path, []byte("hashivault://"+kmspeers.VaultKey+"\n"), 0o400))
	return path
}

// requireSettings checks that each variable is a setting.
func requireSettings(t *testing.T, variables map[string]string) {
	t.Helper()
	out, err := program(t, nil, "config").Output()
	require.NoError(t, err)
	for name := range variables {
		require.Regexp(t, `(?m)(^`+name+` |^without a value: (.*, )?`+name+`(,|$))`, string(out))
	}
}

// requireIgnored checks that no secret of a developer's directory gets into the build.
func requireIgnored(t *testing.T) {
	t.Helper()
	ignored := strings.Fields(text(t, ".dockerignore"))
	require.Subset(t, ignored, []string{".git", ".env", "coffer-data", "node_modules"})
	for _, needed := range []string{"scripts", "web", "cmd", "server", "shared", "wasm", "go.mod", "package-lock.json", ".npmrc"} {
		require.NotContains(t, ignored, needed)
	}
}

// unit returns the settings of the service's unit by name, in their order.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for line := range strings.Lines(text(t, "packaging/systemd/coffer.service")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			out[name] = append(out[name], value)
		}
	}
	return out
}

// The settings of the unit and of the sample beside it are valid.
func TestUnitIsValidAndConfined(t *testing.T) {
	t.Parallel()
	u := unit(t)
	require.Equal(t, []string{"/usr/bin/coffer serve"}, u["ExecStart"])
	require.NotContains(t, u, "ProcSubset", "it hides the id of the boot")
	require.Equal(t, []string{"kek:/etc/coffer/kek"}, u["LoadCredential"])
	require.Equal(t, []string{"notify"}, u["Type"])
	require.Equal(t, []string{"main"}, u["NotifyAccess"])
	require.Equal(t, []string{"30s"}, u["WatchdogSec"])
	for name, value := range map[string]string{
		"User": "coffer", "LimitCORE": "0", "MemorySwapMax": "0", "UMask": "0077", "NoNewPrivileges": "true", "CapabilityBoundingSet": "",
		"ProtectSystem": "strict", "ProtectHome": "true", "MemoryDenyWriteExecute": "true", "StateDirectory": "coffer", "StateDirectoryMode": "0700",
	} {
		require.Equal(t, []string{value}, u[name], name)
	}
	variables := map[string]string{}
	for _, pair := range append(u["Environment"], strings.Fields(text(t, "packaging/systemd/coffer.env"))...) {
		name, value, _ := strings.Cut(pair, "=")
		variables[name] = strings.ReplaceAll(value, "%S", "/var/lib")
	}
	requireSettings(t, variables)
	require.Equal(t, "%d/kek", variables["COFFER_KEK_FILE"])
	variables["COFFER_KEK_FILE"] = kekFile(t)
	out, err := program(t, environ(variables), "config").Output()
	require.NoError(t, err)
	require.Regexp(t, `(?m)^COFFER_DATA +/var/lib/coffer +environment$`, string(out))

	_, err = exec.LookPath("systemd-analyze")
	require.NoError(t, err, "on Debian: apt-get install systemd")
	path, err := binary()
	require.NoError(t, err)
	content, err := os.ReadFile("../../packaging/systemd/coffer.service")
	require.NoError(t, err)
	copied := filepath.Join(t.TempDir(), "coffer.service")
	require.NoError(t, os.WriteFile(copied, bytes.ReplaceAll(content, []byte("/usr/bin/coffer"), []byte(path)), 0o600))
	said, err := proctest.Command(t, "systemd-analyze", "verify", "--man=no", copied).CombinedOutput()
	require.NoError(t, err, string(said))
	require.Empty(t, string(said))
	said, err = proctest.Command(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", copied).CombinedOutput()
	require.NoError(t, err, "an exposure above 2.0 of 10:\n%s", said)
}
