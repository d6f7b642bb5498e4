"""What answers go to: files, MQTT, Modbus TCP, OPC UA."""
