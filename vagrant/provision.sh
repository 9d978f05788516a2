#!/usr/bin/env bash
# Run by Vagrant as root in each machine, once at the first start and again by `vagrant provision`; the virtual machines of the
# tests (test/vm) are set up by it too. It takes its files from /tmp/culvert.
#   provision.sh router        forwards between the two subnets
#   provision.sh node [MODE]   plugins, configuration and a running agent; MODE where there is no agent.yaml among the files
#   provision.sh agent         the agent, started again
set -euo pipefail

files=/tmp/culvert

router() {
  cat >/etc/sysctl.d/60-router.conf <<'END'
net.ipv4.ip_forward = 1
END
  sysctl -q --system
  # what mode routed asks of a router: that it knows the podCIDRs. vxlan does not need these.
  cat >/etc/systemd/system/pod-routes.service <<'END'
[Unit]
Description=Routes to the podCIDRs
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip route replace 10.244.1.0/24 via 192.168.1.11
ExecStart=/sbin/ip route replace 10.244.2.0/24 via 192.168.1.12
ExecStart=/sbin/ip route replace 10.244.3.0/24 via 192.168.2.13

[Install]
WantedBy=multi-user.target
END
  systemctl daemon-reload
  systemctl enable --now pod-routes.service
}

# The other subnet is reached through the router, not through the machine's default route.
other_subnet() {
  if ip -4 -o address show | grep -q ' 192\.168\.1\.'; then
    echo '192.168.2.0/24 via 192.168.1.1'
  else
    echo '192.168.1.0/24 via 192.168.2.1'
  fi
}

install_packages() {
  local program missing=
  for program in ip nft wg bird nsenter ping arping tcpdump iperf3 curl; do
    command -v "$program" >/dev/null || missing=1
  done
  [ -n "$missing" ] || return 0
  apt-get -q update
  DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends \
    iproute2 nftables wireguard-tools bird2 util-linux iputils-ping iputils-arping ethtool tcpdump iperf3 curl
}

install_plugins() {
  mkdir -p /opt/cni/bin
  # the virtual machines of the tests have them on a drive: the files are links there, and stay such
  for name in culvert-node culvert; do
    cp --no-dereference --remove-destination "$files/$name" "/opt/cni/bin/$name"
    [ -x "/opt/cni/bin/$name" ] || chmod 755 "/opt/cni/bin/$name"
  done
  for name in bridge host-local loopback; do
    ln -sf culvert "/opt/cni/bin/$name"
  done
  install -D -m 755 "$files/pod" /usr/local/bin/pod
}

# With systemd the unit that a node should have; without it (the machines of the tests) a process of its own.
agent() {
  if [ -d /run/systemd/system ]; then
    systemctl restart culvert-agent.service
    return
  fi
  local pid=/run/culvert-agent.pid
  if [ -e "$pid" ] && kill "$(cat "$pid")" 2>/dev/null; then
    while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.1; done
  fi
  setsid /opt/cni/bin/culvert agent --config /etc/culvert/agent.yaml </dev/null >>/var/log/culvert-agent.log 2>&1 &
  echo $! >"$pid"
}

install_unit() {
  install -m 644 "$files/culvert-agent.service" /etc/systemd/system/culvert-agent.service
  mkdir -p /etc/systemd/system/culvert-agent.service.d
  printf '[Service]\nExecStartPre=/sbin/ip route replace %s\n' "$(other_subnet)" \
    >/etc/systemd/system/culvert-agent.service.d/route.conf
  systemctl daemon-reload
  systemctl enable culvert-agent.service
}

node() {
  install_packages
  install_plugins
  install -D -m 644 "$files/cluster.yaml" /etc/culvert/cluster.yaml
  if [ -e "$files/agent.yaml" ]; then
    install -m 644 "$files/agent.yaml" /etc/culvert/agent.yaml
  else
    # the router knows the IPv4 podCIDRs (above); there is no IPv6 below the pods, so mode routed carries IPv4 only
    printf 'mode: %s\nbehindRouter: gateway\n' "$1" >/etc/culvert/agent.yaml
  fi
  [ ! -d /run/systemd/system ] || install_unit
  agent
}

"$@"
