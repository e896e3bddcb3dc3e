// Package conformance runs the Gateway API's own conformance suite.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestMesh(t *testing.T) {
	conformance.RunConformance(t)
}
