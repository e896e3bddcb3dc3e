// A gRPC server that knows its health: `cart` serves, `checkout` does not. Takes its address.
package main

import (
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	known := health.NewServer()
	known.SetServingStatus("cart", grpc_health_v1.HealthCheckResponse_SERVING)
	known.SetServingStatus("checkout", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, known)
	log.Fatal(server.Serve(listener))
}
